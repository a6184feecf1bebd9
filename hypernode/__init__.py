"""HYPERNODE: submit numeric jobs to other people's GPUs, get verified results.

    import hypernode as hn

    with hn.Client("http://127.0.0.1:3001") as client:
        job = client.submit("render", width=640, height=360, budget="0.02")
        print(job.result().output.shape)

Names are imported when they are first used: `hypernode --version` loads nothing of this.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from coordinator.protocol.spec import Limits, Resources, Sample, Unverified
    from hypernode.blocking import Client, Job
    from hypernode.client import AsyncClient
    from hypernode.errors import (
        BadReceipt,
        BadSpec,
        Busy,
        FaucetOff,
        Forbidden,
        HypernodeError,
        InsufficientCredit,
        JobCancelled,
        JobFailed,
        KernelRefused,
        KeyConflict,
        NotFinished,
        NotFound,
        OverBudget,
        RateLimited,
        Rejected,
        Timeout,
        TooLate,
        Unauthenticated,
        UnknownKind,
        Unreachable,
    )
    from hypernode.kernels import Device, Kernel, device, kernel
    from hypernode.language import (
        In,
        Index,
        Out,
        cuda,
        f32,
        f64,
        i32,
        i64,
        normal_f32,
        normal_f64,
        philox,
        random_u32,
        random_u64,
        u8,
        u32,
        u64,
        uniform_f32,
        uniform_f64,
        unit_f32,
    )
    from hypernode.result import Result

__all__ = [
    "AsyncClient",
    "BadReceipt",
    "BadSpec",
    "Busy",
    "Client",
    "Device",
    "FaucetOff",
    "Forbidden",
    "HypernodeError",
    "In",
    "Index",
    "InsufficientCredit",
    "Job",
    "JobCancelled",
    "JobFailed",
    "Kernel",
    "KernelRefused",
    "KeyConflict",
    "Limits",
    "NotFinished",
    "NotFound",
    "Out",
    "OverBudget",
    "RateLimited",
    "Rejected",
    "Resources",
    "Result",
    "Sample",
    "Timeout",
    "TooLate",
    "Unauthenticated",
    "UnknownKind",
    "Unreachable",
    "Unverified",
    "cuda",
    "device",
    "f32",
    "f64",
    "i32",
    "i64",
    "kernel",
    "normal_f32",
    "normal_f64",
    "philox",
    "random_u32",
    "random_u64",
    "u8",
    "u32",
    "u64",
    "uniform_f32",
    "uniform_f64",
    "unit_f32",
]

_HOMES: Final = {
    "AsyncClient": "hypernode.client",
    "Client": "hypernode.blocking",
    "Job": "hypernode.blocking",
    "Result": "hypernode.result",
    **dict.fromkeys(("Device", "Kernel", "device", "kernel"), "hypernode.kernels"),
    **dict.fromkeys(("In", "Index", "Out", "cuda"), "hypernode.language"),
    **dict.fromkeys(("f32", "f64", "i32", "i64", "u32", "u64", "u8"), "hypernode.language"),
    **dict.fromkeys(("philox", "random_u32", "random_u64", "unit_f32"), "hypernode.language"),
    **dict.fromkeys(("uniform_f32", "uniform_f64"), "hypernode.language"),
    **dict.fromkeys(("normal_f32", "normal_f64"), "hypernode.language"),
    **dict.fromkeys(("Limits", "Resources", "Sample", "Unverified"), "coordinator.protocol.spec"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES.get(name, "hypernode.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
