"""What a surface and the sky send towards the eye: device functions of `render`.

Shapes:  scalars float32; setting (15, 3) and spheres (n, 10) float32.
Launch:  called by a pixel's thread, once a bounce.
Work:    about 20 operations a sphere for shadow and occlusion, 200 for the rest.
Source:  `coordinator/workloads/raytrace.py` (`_surface`, `_material`, `_lit`, `_sky`, `_levels`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32, int64, uint8

from agent.kernels.backend import Jit
from coordinator.workloads.raytrace import BOUNCE_LIGHT, FADE, OFFSET, SKY_LIGHT
from coordinator.workloads.scenes import (
    GROUND,
    HORIZON,
    SUN,
    SUN_LIGHT,
    SUN_RIGHT,
    SUN_SIZE,
    SUN_UP,
    TILE_DARK,
    TILE_LIGHT,
    ZENITH,
)  # fmt: skip

# NumPy scalars stay float32 in every back end; a Python float would widen the arithmetic.
_ZERO, _ONE, _TWO, _HALF = np.float32(0.0), np.float32(1.0), np.float32(2.0), np.float32(0.5)
_OFFSET, _FADE, _SKY_LIGHT = np.float32(OFFSET), np.float32(FADE), np.float32(SKY_LIGHT)
_BOUNCE_R, _BOUNCE_G, _BOUNCE_B = (np.float32(part) for part in BOUNCE_LIGHT)
_TURN = np.float32(2.0 * math.pi)
_HAZE, _GLOW, _DISC = np.float32(0.08), np.float32(0.25), np.float32(8.0)
_GAMMA = np.float32(1 / 2.2)
_A, _B, _C, _D, _E = (np.float32(x) for x in (2.51, 0.03, 2.43, 0.59, 0.14))
_LEVEL = np.float32(255.0)


def define_vectors(jit: Jit) -> tuple[Any, Any, Any]:
    """dot(a, b), unit(a) and positive(x), on scalars."""

    @jit
    def positive(x):
        # `max` is not used in kernels: Numba's built-in CUDA target does not compile it (0.68).
        return x if x > _ZERO else _ZERO

    @jit
    def dot(ax, ay, az, bx, by, bz):
        return ax * bx + ay * by + az * bz

    @jit
    def unit(x, y, z):
        length = float32(math.sqrt(x * x + y * y + z * z))
        return x / length, y / length, z / length

    return dot, unit, positive


def define_sky(jit: Jit) -> Any:
    """sky(setting, direction): three numbers."""
    dot, _, positive = define_vectors(jit)

    @jit
    def sky(setting, dx, dy, dz):
        low = _ONE - positive(dy)
        low *= low
        low *= low
        low *= low
        power = positive(dot(dx, dy, dz, setting[SUN, 0], setting[SUN, 1], setting[SUN, 2]))
        glow = _ZERO
        for doubling in range(1, 11):
            power *= power
            if doubling == 3:
                glow += _HAZE * power
            if doubling == 6:
                glow += _GLOW * power
        glow += _DISC * power
        dim = _HALF if dy < _ZERO else _ONE
        red = setting[ZENITH, 0] + (setting[HORIZON, 0] - setting[ZENITH, 0]) * low
        green = setting[ZENITH, 1] + (setting[HORIZON, 1] - setting[ZENITH, 1]) * low
        blue = setting[ZENITH, 2] + (setting[HORIZON, 2] - setting[ZENITH, 2]) * low
        return (
            (red + setting[SUN_LIGHT, 0] * glow) * dim,
            (green + setting[SUN_LIGHT, 1] * glow) * dim,
            (blue + setting[SUN_LIGHT, 2] * glow) * dim,
        )

    return sky


def define_lit(jit: Jit) -> Any:
    """lit(setting, spheres, start, normal, u0, u1): light that arrives, three numbers."""
    dot, unit, positive = define_vectors(jit)

    @jit
    def blocked(spheres, x, y, z, nx, ny, nz, sx, sy, sz):
        """Whether the sun is hidden, and the share of the sky that is not."""
        hidden = False
        open_sky = _ONE
        for i in range(spheres.shape[0]):
            cx, cy, cz = spheres[i, 0] - x, spheres[i, 1] - y, spheres[i, 2] - z
            square, area = dot(cx, cy, cz, cx, cy, cz), spheres[i, 3] * spheres[i, 3]
            above = positive(dot(cx, cy, cz, nx, ny, nz))
            part = above * area / (square * float32(math.sqrt(square)))
            open_sky *= positive(_ONE - part)
            along = dot(cx, cy, cz, sx, sy, sz)
            cx -= along * sx
            cy -= along * sy
            cz -= along * sz
            if along > _ZERO and dot(cx, cy, cz, cx, cy, cz) < area:
                hidden = True
        return hidden, open_sky

    @jit
    def lit(setting, spheres, x, y, z, nx, ny, nz, u0, u1):
        radius = setting[SUN_SIZE, 0] * float32(math.sqrt(u0))
        p = radius * float32(math.cos(_TURN * u1))
        q = radius * float32(math.sin(_TURN * u1))
        sx, sy, sz = unit(
            setting[SUN, 0] + setting[SUN_RIGHT, 0] * p + setting[SUN_UP, 0] * q,
            setting[SUN, 1] + setting[SUN_RIGHT, 1] * p + setting[SUN_UP, 1] * q,
            setting[SUN, 2] + setting[SUN_RIGHT, 2] * p + setting[SUN_UP, 2] * q,
        )
        seen = positive(dot(nx, ny, nz, sx, sy, sz))
        hidden, open_sky = blocked(spheres, x, y, z, nx, ny, nz, sx, sy, sz)
        if hidden:
            seen = _ZERO
        upward = _HALF + _HALF * ny
        red = (setting[ZENITH, 0] + setting[HORIZON, 0]) * _SKY_LIGHT
        green = (setting[ZENITH, 1] + setting[HORIZON, 1]) * _SKY_LIGHT
        blue = (setting[ZENITH, 2] + setting[HORIZON, 2]) * _SKY_LIGHT
        return (
            setting[SUN_LIGHT, 0] * seen + (_BOUNCE_R + (red - _BOUNCE_R) * upward) * open_sky,
            setting[SUN_LIGHT, 1] * seen + (_BOUNCE_G + (green - _BOUNCE_G) * upward) * open_sky,
            setting[SUN_LIGHT, 2] * seen + (_BOUNCE_B + (blue - _BOUNCE_B) * upward) * open_sky,
        )

    return lit


def define_tiles(jit: Jit) -> Any:
    """tiles(setting, x, z): the ground's colour, three numbers."""

    @jit
    def tiles(setting, x, z):
        row = TILE_LIGHT
        if (int64(math.floor(x)) + int64(math.floor(z))) % 2 != 0:
            row = TILE_DARK
        fade = _ONE / (_ONE + _FADE * (x * x + z * z))
        red = (setting[TILE_LIGHT, 0] + setting[TILE_DARK, 0]) * _HALF
        green = (setting[TILE_LIGHT, 1] + setting[TILE_DARK, 1]) * _HALF
        blue = (setting[TILE_LIGHT, 2] + setting[TILE_DARK, 2]) * _HALF
        return (
            red + (setting[row, 0] - red) * fade,
            green + (setting[row, 1] - green) * fade,
            blue + (setting[row, 2] - blue) * fade,
        )

    return tiles


def define_reflect(jit: Jit) -> Any:
    """reflect(direction, normal, facing, rough, u2, u3): the reflected direction."""
    dot, unit, positive = define_vectors(jit)

    @jit
    def reflect(dx, dy, dz, nx, ny, nz, facing, rough, u2, u3):
        twice = _TWO * facing
        mx, my, mz = dx + nx * twice, dy + ny * twice, dz + nz * twice
        high = _ONE - _TWO * u2
        ring = float32(math.sqrt(positive(_ONE - high * high)))
        bx, by, bz = unit(
            mx + rough * (ring * float32(math.cos(_TURN * u3))),
            my + rough * high,
            mz + rough * (ring * float32(math.sin(_TURN * u3))),
        )
        if dot(bx, by, bz, nx, ny, nz) > _ZERO:
            return bx, by, bz
        return mx, my, mz

    return reflect


def define_surface(jit: Jit) -> Any:
    """surface(…): light sent out, share reflected, start and direction of the reflected ray."""
    dot, _, positive = define_vectors(jit)
    lit, tiles, reflect = define_lit(jit), define_tiles(jit), define_reflect(jit)

    @jit
    def surface(setting, spheres, which, x, y, z, dx, dy, dz, u0, u1, u2, u3):
        if which == spheres.shape[0]:
            nx, ny, nz = _ZERO, _ONE, _ZERO
            red, green, blue = tiles(setting, x, z)
            base, metal, rough = setting[GROUND, 0], _ZERO, setting[GROUND, 1]
        else:
            radius = spheres[which, 3]
            nx = (x - spheres[which, 0]) / radius
            ny = (y - spheres[which, 1]) / radius
            nz = (z - spheres[which, 2]) / radius
            red, green, blue = spheres[which, 4], spheres[which, 5], spheres[which, 6]
            base, metal, rough = spheres[which, 7], spheres[which, 8], spheres[which, 9]
        x, y, z = x + nx * _OFFSET, y + ny * _OFFSET, z + nz * _OFFSET
        lr, lg, lb = lit(setting, spheres, x, y, z, nx, ny, nz, u0, u1)
        facing = -dot(dx, dy, dz, nx, ny, nz)
        edge = positive(_ONE - facing)
        square = edge * edge
        fresnel = base + (_ONE - base) * (square * square * edge)
        body = (_ONE - metal) * (_ONE - fresnel)
        dx, dy, dz = reflect(dx, dy, dz, nx, ny, nz, facing, rough, u2, u3)
        return (
            lr * red * body, lg * green * body, lb * blue * body,
            (_ONE - metal + metal * red) * fresnel, (_ONE - metal + metal * green) * fresnel,
            (_ONE - metal + metal * blue) * fresnel,
            x, y, z, dx, dy, dz,
        )  # fmt: skip

    return surface


def define_level(jit: Jit) -> Any:
    """level(light): the sRGB level of one channel."""

    @jit
    def level(light):
        curve = light * (_A * light + _B) / (light * (_C * light + _D) + _E)
        bright = float32(math.pow(curve if curve < _ONE else _ONE, _GAMMA))
        return uint8(bright * _LEVEL + _HALF)

    return level
