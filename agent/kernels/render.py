"""render: one pixel of a ray-traced picture.

Shapes:  setting (15, 3) and spheres (n, 10) float32; image (height, width, 3) uint8.
Launch:  one thread a pixel, neighbours in a row beside each other; its samples one after another.
Work:    `coordinator.workloads.render.Render.work`, 3 bytes a pixel: bound by computing. All of it
         in float32: a float64 constant would cost a consumer GPU a factor of 64.
Source:  `coordinator/workloads/raytrace.py` is the definition, function by function; light and
         sky are in `shading.py` here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32, uint32, uint64

from agent.kernels import philox as philox_kernel, shading
from agent.kernels.backend import Jit, Launch
from coordinator.protocol.arrays import AnyArray
from coordinator.workloads.catalogue import get
from coordinator.workloads.philox import split_seed
from coordinator.workloads.raytrace import BOUNCES, FAR, LIGHT_STEPS, PIXEL_STEPS, WEIGHT_MIN
from coordinator.workloads.render import RenderParams
from coordinator.workloads.scenes import EYE, FORWARD, LENS, RIGHT, UP, scene

_ZERO, _ONE, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
_FAR, _WEIGHT_MIN = np.float32(FAR), np.float32(WEIGHT_MIN)
_TURN = np.float32(2.0 * math.pi)
_UNIT = np.float32(2.0**-24)
_P0, _P1, _P2, _P3 = PIXEL_STEPS
_L0, _L1, _L2, _L3 = LIGHT_STEPS


def define_camera(jit: Jit) -> Any:
    """camera(setting, x, y, width, height, u0, u1, u2, u3): origin and direction, six numbers."""
    _, unit, _ = shading.define_vectors(jit)

    @jit
    def camera(setting, x, y, width, height, u0, u1, u2, u3):
        aperture, focus, field = setting[LENS, 0], setting[LENS, 1], setting[LENS, 2]
        w, h = float32(width), float32(height)
        across = ((float32(x) + u0) - w * _HALF) / h * field * focus
        above = (h * _HALF - (float32(y) + u1)) / h * field * focus
        radius = aperture * float32(math.sqrt(u2))
        lens_x = radius * float32(math.cos(_TURN * u3))
        lens_y = radius * float32(math.sin(_TURN * u3))
        across -= lens_x
        above -= lens_y
        dx, dy, dz = unit(
            setting[FORWARD, 0] * focus + setting[RIGHT, 0] * across + setting[UP, 0] * above,
            setting[FORWARD, 1] * focus + setting[RIGHT, 1] * across + setting[UP, 1] * above,
            setting[FORWARD, 2] * focus + setting[RIGHT, 2] * across + setting[UP, 2] * above,
        )
        return (
            setting[EYE, 0] + setting[RIGHT, 0] * lens_x + setting[UP, 0] * lens_y,
            setting[EYE, 1] + setting[RIGHT, 1] * lens_x + setting[UP, 1] * lens_y,
            setting[EYE, 2] + setting[RIGHT, 2] * lens_x + setting[UP, 2] * lens_y,
            dx, dy, dz,
        )  # fmt: skip

    return camera


def define_nearest(jit: Jit) -> Any:
    """nearest(spheres, origin, direction): distance, and which surface (n ground, n + 1 sky)."""

    @jit
    def nearest(spheres, ox, oy, oz, dx, dy, dz):
        count = spheres.shape[0]
        best = _FAR
        which = count + 1
        if dy < float32(-1e-6):
            ground = -oy / dy
            if ground < best:
                best = ground
                which = count
        for i in range(count):
            x, y, z = ox - spheres[i, 0], oy - spheres[i, 1], oz - spheres[i, 2]
            along = x * dx + y * dy + z * dz
            x -= along * dx
            y -= along * dy
            z -= along * dz
            inside = spheres[i, 3] * spheres[i, 3] - (x * x + y * y + z * z)
            if inside > _ZERO:
                distance = -along - float32(math.sqrt(inside))
                if _ZERO < distance < best:
                    best = distance
                    which = i
        return best, which

    return nearest


def define_draw(jit: Jit) -> Any:
    """draw(word, sample, step): sample s of a sequence, in [0, 1)."""

    @jit
    def draw(word, sample, step):
        mixed = uint32(uint64(word) + uint64(sample) * uint64(step))
        return float32(mixed >> uint32(8)) * _UNIT

    return draw


def define_sample(jit: Jit) -> Any:
    """radiance(…): the light of one sample, three numbers."""
    philox = philox_kernel.define(jit)
    draw = define_draw(jit)
    nearest = define_nearest(jit)
    sky = shading.define_sky(jit)
    surface = shading.define_surface(jit)

    @jit
    def radiance(setting, spheres, ox, oy, oz, dx, dy, dz, pixel, sample, key_0, key_1):
        red, green, blue = _ZERO, _ZERO, _ZERO
        wr, wg, wb = _ONE, _ONE, _ONE
        for bounce in range(1, BOUNCES + 1):
            distance, which = nearest(spheres, ox, oy, oz, dx, dy, dz)
            if which > spheres.shape[0]:
                break
            a, b, c, d = philox(uint32(pixel), uint32(bounce), uint32(0), uint32(0), key_0, key_1)
            sr, sg, sb, rr, rg, rb, ox, oy, oz, dx, dy, dz = surface(
                setting, spheres, which,
                ox + dx * distance, oy + dy * distance, oz + dz * distance, dx, dy, dz,
                draw(a, sample, _L0), draw(b, sample, _L1),
                draw(c, sample, _L2), draw(d, sample, _L3),
            )  # fmt: skip
            red += wr * sr
            green += wg * sg
            blue += wb * sb
            wr *= rr
            wg *= rg
            wb *= rb
            if wr <= _WEIGHT_MIN and wg <= _WEIGHT_MIN and wb <= _WEIGHT_MIN:
                return red, green, blue
        sr, sg, sb = sky(setting, dx, dy, dz)
        return red + wr * sr, green + wg * sg, blue + wb * sb

    return radiance


def define(jit: Jit) -> Any:
    """The body of a pixel."""
    philox = philox_kernel.define(jit)
    draw = define_draw(jit)
    camera = define_camera(jit)
    radiance = define_sample(jit)
    level = shading.define_level(jit)

    @jit
    def body(index, width, height, samples, seed_0, seed_1, setting, spheres, image):
        y = index // width
        x = index - y * width
        key_0, key_1 = uint32(seed_0), uint32(seed_1)
        zero = uint32(0)
        a, b, c, d = philox(uint32(index), zero, zero, zero, key_0, key_1)
        red, green, blue = _ZERO, _ZERO, _ZERO
        for sample in range(samples):
            ox, oy, oz, dx, dy, dz = camera(
                setting, x, y, width, height,
                draw(a, sample, _P0), draw(b, sample, _P1),
                draw(c, sample, _P2), draw(d, sample, _P3),
            )  # fmt: skip
            r, g, b_ = radiance(
                setting, spheres, ox, oy, oz, dx, dy, dz, index, sample, key_0, key_1
            )
            red += r
            green += g
            blue += b_
        count = float32(samples)
        image[y, x, 0] = level(red / count)
        image[y, x, 1] = level(green / count)
        image[y, x, 2] = level(blue / count)

    return body


def run(params: RenderParams, launch: Launch) -> list[AnyArray]:
    """The output `image`."""
    setting, spheres = scene(params.scene, params.angle)
    image = np.zeros((params.height, params.width, 3), dtype=np.uint8)
    pixels = params.width * params.height
    flop = get("render").work(params).flop // pixels
    size = (params.width, params.height, params.samples)
    inputs = (*size, *split_seed(params.seed), setting.copy(), spheres.copy())
    launch(define, pixels, flop, inputs, (image,))
    return [image]
