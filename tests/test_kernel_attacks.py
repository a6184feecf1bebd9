"""No hostile source is taken, each is refused for its reason; whatever text comes, nothing breaks.

Not covered: what a taken kernel does when it runs.
"""

from __future__ import annotations

import ast
import re
import warnings

import pytest
from hypothesis import example, given, settings, strategies as st

from coordinator.workloads.allowed import FUNCTIONS
from coordinator.workloads.kernel_types import SCALARS, SourceRefused
from coordinator.workloads.source import parse_source
from tests.kernel_attacks import ATTACKS, Attack
from tests.kernel_corpus import CORPUS


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.why)
def test_a_hostile_source_is_refused_for_its_reason(attack: Attack) -> None:
    with pytest.raises(SourceRefused) as refused:
        parse_source(attack.text)

    assert any(part in refused.value.sentence for part in attack.says.split("|"))
    names_a_line(refused.value, attack.text)


def names_a_line(refused: SourceRefused, text: str) -> None:
    assert 1 <= refused.line <= text.count("\n") + 1
    assert refused.sentence


def test_there_are_more_than_two_hundred_of_them() -> None:
    assert len({attack.text for attack in ATTACKS}) > 200


# ---- whatever comes ---------------------------------------------------------------------------

_WORD = re.compile(r"\w+|\n *|[^\w\s]+| +")
#: Words that hostile texts and good ones are made of.
_FOREIGN = (
    *("lambda", "class", "import", "with", "try", "None", "is", "del", "global", "eval", "np."),
    *("@", ";", ":", ":=", "->", "**", "//", "<<", "__class__", "_", "f'", '"', "'''"),
    *("\t", "\x00", "1e999", "0x", "9" * 80, "\n    ", "\n"),
)
VOCABULARY = sorted({*_FOREIGN, *(w for text in CORPUS.values() for w in _WORD.findall(text))})


def only_refuses(text: str) -> None:
    """Read a text; what is taken is checked again by another way than the reader's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            source = parse_source(text)
        except SourceRefused as refused:
            names_a_line(refused, text)
            return
        compile(text, "taken", "exec")
    is_harmless(text)
    assert source.text == text
    assert parse_source(text) == source


_HARMLESS = (
    *(ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.keyword, ast.Assign, ast.AugAssign),
    *(ast.Expr, ast.If, ast.For, ast.While, ast.Return, ast.Break, ast.Continue, ast.Pass),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Attribute),
    *(ast.Subscript, ast.Name, ast.Constant, ast.Tuple, ast.expr_context),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
_ATTRIBUTES = {name.rsplit(".", 1)[-1] for name in FUNCTIONS} | {
    *("shape", "size", "ndim", "x", "y", "z", "pi", "e", "tau", "inf", "nan"),
    *("threadIdx", "blockIdx", "blockDim", "gridDim", "atomic", "shared", "local"),
}


def is_harmless(text: str) -> None:
    """What the spike of an allow-list asks of every node, whoever let it in."""
    tree = ast.parse(text)
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        assert isinstance(node, _HARMLESS), node
        assert not isinstance(node, ast.MatMult | ast.Is | ast.IsNot | ast.In | ast.NotIn)
        if isinstance(node, ast.Attribute):
            assert node.attr in _ATTRIBUTES
            assert isinstance(node.value, ast.Name | ast.Attribute)
        elif isinstance(node, ast.Name):
            assert node.id == "_" or not node.id.startswith("_")
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name in {*FUNCTIONS, *SCALARS, *defined, "range", "kernel"}, name
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            assert node.value.bit_length() <= 64


@given(st.text(max_size=200))
@example("\ud800")
@example("")
def test_any_text_is_refused_or_taken(text: str) -> None:
    only_refuses(text)
    only_refuses(f"{text}\n")


@given(st.lists(st.sampled_from(VOCABULARY), max_size=60))
def test_any_words_in_any_order_are_refused_or_taken(words: list[str]) -> None:
    only_refuses(" ".join(words) + "\n")
    only_refuses(f"@kernel\ndef k(i, x: In[f32], out: Out[f32]):\n    {' '.join(words)}\n")


@settings(max_examples=400)
@given(st.sampled_from(sorted(CORPUS)), st.data())
def test_a_good_source_with_a_few_words_changed_is_refused_or_taken(
    name: str, data: st.DataObject
) -> None:
    words = _WORD.findall(CORPUS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        match data.draw(st.sampled_from(["replace", "insert", "delete", "swap", "repeat"])):
            case "replace":
                words[at] = data.draw(st.sampled_from(VOCABULARY))
            case "insert":
                words.insert(at, data.draw(st.sampled_from(VOCABULARY)))
            case "delete" if len(words) > 1:
                del words[at]
            case "swap":
                other = data.draw(st.integers(0, len(words) - 1))
                words[at], words[other] = words[other], words[at]
            case "repeat":
                words[at:at] = words[at : at + 8]
    only_refuses("".join(words))


# ---- any tree -----------------------------------------------------------------------------------

_NAMES = st.sampled_from(
    ["i", "x", "out", "n", "f32", "cuda", "math", "eval", "b", "_", "__a__", "k"]
)
_CONSTANTS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.just(1j),
    st.just(...),
).map(ast.Constant)


def _grown(inner: st.SearchStrategy[ast.expr]) -> st.SearchStrategy[ast.expr]:
    several = st.lists(inner, max_size=3)
    load = ast.Load()
    attributes = st.sampled_from(
        ["shape", "x", "__class__", "sqrt", "grid", "atomic", "add", "dtype"]
    )
    comparisons = st.sampled_from([[ast.Lt()], [ast.Is()], [ast.In()]])
    operators = st.sampled_from([ast.Add(), ast.Pow(), ast.LShift(), ast.MatMult(), ast.Mod()])
    return st.one_of(
        st.builds(ast.BinOp, inner, operators, inner),
        st.builds(ast.UnaryOp, st.sampled_from([ast.USub(), ast.Not(), ast.Invert()]), inner),
        st.builds(ast.BoolOp, st.just(ast.And()), st.lists(inner, min_size=2, max_size=3)),
        st.builds(ast.Compare, inner, comparisons, inner.map(lambda e: [e])),
        st.builds(ast.Attribute, inner, attributes, st.just(load)),
        st.builds(ast.Subscript, inner, inner, st.just(load)),
        st.builds(ast.Call, inner, several, st.just([])),
        st.builds(ast.Call, inner, several, inner.map(lambda e: [ast.keyword("a", e)])),
        st.builds(ast.Tuple, several, st.just(load)),
        st.builds(ast.List, several, st.just(load)),
        st.builds(ast.Set, st.lists(inner, min_size=1, max_size=2)),
        st.builds(ast.Starred, inner, st.just(load)),
        st.builds(ast.IfExp, inner, inner, inner),
        st.builds(ast.Slice, inner, inner, st.none()),
        st.builds(ast.Await, inner),
        st.builds(ast.Yield, inner),
        inner.map(lambda e: ast.Lambda(ast.arguments([], [], None, [], [], None, []), e)),
        inner.map(lambda e: ast.JoinedStr([ast.FormattedValue(e, -1)])),
        inner.map(lambda e: ast.NamedExpr(ast.Name("b", ast.Store()), e)),
    )


EXPRESSIONS = st.recursive(
    st.one_of(_NAMES.map(lambda name: ast.Name(name, ast.Load())), _CONSTANTS),
    _grown,
    max_leaves=12,
)


@settings(max_examples=400)
@given(
    EXPRESSIONS,
    st.sampled_from(["b = {}", "out[i] = {}", "{}", "if {}:\n        pass", "return {}"]),
)
def test_any_tree_is_refused_or_taken(tree: ast.expr, where: str) -> None:
    try:
        written = ast.unparse(ast.fix_missing_locations(tree))
    except (ValueError, TypeError, AttributeError):
        return
    only_refuses(
        "@kernel\ndef k(i, n: i64, x: In[f32], out: Out[f32]):\n    " + where.format(written) + "\n"
    )


def test_the_second_look_finds_what_the_list_refuses() -> None:
    """So that the properties above could fail."""
    for text in ("b = x.__class__\n", "eval(1)\n", "import os\n", "b = [1]\n", "b = _a\n"):
        with pytest.raises(AssertionError):
            is_harmless(text)
