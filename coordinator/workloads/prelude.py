"""Random numbers of kernels: device functions of the language itself, as text.

Rules:
  1. The text is the definition: every device translates it as it does a submitter's own functions.
  2. Philox's counter is (index low, index high, step low, step high), its key the seed's two words:
     two calls with the same three numbers give the same words, any other call gives others.
  3. A standard normal is Box-Muller's first one of the words 0 and 1; halves keep the logarithm
     from zero.
Vectors: `tests/vectors/philox.json`.
Source: `coordinator/workloads/philox.py` (rounds and constants); Box and Muller 1958.
"""

from __future__ import annotations

from typing import Final

from coordinator.workloads.philox import MULTIPLIER_0, MULTIPLIER_1, ROUNDS, WEYL_0, WEYL_1

_PHILOX: Final = f'''@device
def philox(seed: u64, index: u64, step: u64):
    """Four random words of 32 bits."""
    c0 = u32(index)
    c1 = u32(index >> u64(32))
    c2 = u32(step)
    c3 = u32(step >> u64(32))
    k0 = u32(seed)
    k1 = u32(seed >> u64(32))
    for _ in range({ROUNDS}):
        product_0 = u64(c0) * u64({MULTIPLIER_0:#x})
        product_1 = u64(c2) * u64({MULTIPLIER_1:#x})
        c0 = u32(product_1 >> u64(32)) ^ c1 ^ k0
        c2 = u32(product_0 >> u64(32)) ^ c3 ^ k1
        c1 = u32(product_1)
        c3 = u32(product_0)
        k0 = u32(k0 + u32({WEYL_0:#x}))
        k1 = u32(k1 + u32({WEYL_1:#x}))
    return u32(c0), c1, u32(c2), c3
'''

_RANDOM_U32: Final = """@device
def random_u32(seed: u64, index: u64, step: u64):
    a, _, _, _ = philox(seed, index, step)
    return a
"""

_RANDOM_U64: Final = """@device
def random_u64(seed: u64, index: u64, step: u64):
    a, b, _, _ = philox(seed, index, step)
    return u64(a) | (u64(b) << u64(32))
"""

_UNIT_F32: Final = '''@device
def unit_f32(word: u32):
    """A multiple of 2^-24 below 1: what an f32 holds exactly."""
    return f32(word >> u32(8)) * f32(5.9604644775390625e-08)
'''

_UNIFORM_F32: Final = """@device
def uniform_f32(seed: u64, index: u64, step: u64):
    a, _, _, _ = philox(seed, index, step)
    return unit_f32(a)
"""

_UNIFORM_F64: Final = '''@device
def uniform_f64(seed: u64, index: u64, step: u64):
    """A multiple of 2^-53 below 1: what an f64 holds exactly."""
    return f64(random_u64(seed, index, step) >> u64(11)) * 1.1102230246251565e-16
'''

_NORMAL_F32: Final = '''@device
def normal_f32(seed: u64, index: u64, step: u64):
    """The logarithm's argument is above 0 and at most 1: halves of 2^-24."""
    a, b, _, _ = philox(seed, index, step)
    radius = math.sqrt(f32(-2.0) * math.log(unit_f32(a) + f32(2.98023223876953125e-08)))
    return radius * math.cos(unit_f32(b) * f32(6.283185307179586))
'''

_NORMAL_F64: Final = """@device
def normal_f64(seed: u64, index: u64, step: u64):
    a, b, _, _ = philox(seed, index, step)
    radius = math.sqrt(-2.0 * math.log((f64(a) + 0.5) * 2.3283064365386963e-10))
    return radius * math.cos(f64(b) * 1.4629180792671596e-09)
"""

#: Function → its text, each after those that it calls.
PRELUDE: Final[dict[str, str]] = {
    "philox": _PHILOX,
    "random_u32": _RANDOM_U32,
    "random_u64": _RANDOM_U64,
    "unit_f32": _UNIT_F32,
    "uniform_f32": _UNIFORM_F32,
    "uniform_f64": _UNIFORM_F64,
    "normal_f32": _NORMAL_F32,
    "normal_f64": _NORMAL_F64,
}
_CALLS: Final[dict[str, tuple[str, ...]]] = {
    "random_u32": ("philox",),
    "random_u64": ("philox",),
    "uniform_f32": ("philox", "unit_f32"),
    "uniform_f64": ("random_u64",),
    "normal_f32": ("philox", "unit_f32"),
    "normal_f64": ("philox",),
}


def prelude_of(names: tuple[str, ...]) -> str:
    """The text that defines the random functions which a source calls; "" for none."""
    wanted = set(names)
    for name in reversed(PRELUDE):
        if name in wanted:
            wanted.update(_CALLS.get(name, ()))
    return "\n\n".join(text for name, text in PRELUDE.items() if name in wanted)
