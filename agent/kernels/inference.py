"""Which types Numba gives the variables of a function, without compiling it.

In:   a function and the types of its arguments.
Out:  each variable's type: where it has several in turn, the one that holds them all.
Why:  a value that a thread keeps across a barrier stands in an array, and an array has a type
      before the program that fills it is compiled. It is the type that the text has on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from numba import types
from numba.core.compiler import CompilerBase, DefaultPassBuilder, Flags, compile_extra
from numba.core.compiler_machinery import AnalysisPass, PassManager, register_pass
from numba.core.registry import cpu_target
from numba.core.typed_passes import NopythonTypeInference

_ERROR_MODEL: Final = "numpy"


@register_pass(mutates_CFG=False, analysis_only=True)
class _KeepTypes(AnalysisPass):  # type: ignore[misc]  # Numba has no stubs
    _name = "keep_types"

    def __init__(self) -> None:
        AnalysisPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        state.cr = dict(state.typemap)
        return False


class _TypesOnly(CompilerBase):  # type: ignore[misc]  # Numba has no stubs
    def define_pipelines(self) -> list[PassManager]:
        manager = PassManager("types of variables")
        manager.passes.extend(DefaultPassBuilder.define_untyped_pipeline(self.state).passes)
        manager.add_pass(NopythonTypeInference, "types")
        manager.add_pass(_KeepTypes, "keep them")
        manager.finalize()
        return [manager]


def types_of(
    function: Callable[..., Any], arguments: Sequence[Any], names: Iterable[str]
) -> dict[str, Any]:
    """The Numba types of some variables.

    Raises:
        numba.core.errors.NumbaError: Of a function that has no types.
    """
    flags = Flags()
    flags.error_model = _ERROR_MODEL
    # Functions that are compiled on the way stay compiled so: as `njit` would have them.
    flags.nrt = True
    context = cpu_target.typing_context
    found = compile_extra(
        context, cpu_target.target_context, function, tuple(arguments), None, flags, {},
        pipeline_class=_TypesOnly,
    )  # fmt: skip
    return {name: _whole(context, found, name) for name in names}


def _whole(context: Any, found: dict[str, Any], name: str) -> Any:
    """One type for a variable that single assignment made several of: `x`, `x.1`, `x.2`."""
    versions = [
        types.unliteral(kind) for found_name, kind in found.items()
        if found_name.split(".")[0] == name
    ]  # fmt: skip
    return context.unify_types(*versions)
