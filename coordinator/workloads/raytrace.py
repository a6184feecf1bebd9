"""The light of a `render` picture in NumPy: the definition that the kernel must match.

In:   a scene's tables (`scenes.py`), pixels, samples and a seed.
Out:  sRGB levels 0 to 255.
Model: the nearest surface along a ray sends out, in its colour, the sun's light (shadowed towards a
      random point of its disc) and the sky's (dimmed by how much of it the spheres hide); the rest
      it reflects, after Schlick's formula, for at most `BOUNCES` reflections. Then the sky.
Layout: vectors are (3, n) float32; rays that have ended are dropped after each bounce.
Source: Schlick 1994; sphere occlusion and soft sky after Quilez; tone curve after Narkowicz 2016.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from coordinator.workloads.philox import U64, philox, split_seed
from coordinator.workloads.scenes import (
    EYE,
    FORWARD,
    GROUND,
    HORIZON,
    LENS,
    RIGHT,
    SUN,
    SUN_LIGHT,
    SUN_RIGHT,
    SUN_SIZE,
    SUN_UP,
    TILE_DARK,
    TILE_LIGHT,
    UP,
    ZENITH,
)  # fmt: skip

F32: TypeAlias = npt.NDArray[np.float32]
U8: TypeAlias = npt.NDArray[np.uint8]

#: Surfaces that a ray meets at most: further ones carry less than a hundredth of the light.
BOUNCES: Final = 5
#: A ray that carries less than this is dropped: a level of 256 is 0.004.
WEIGHT_MIN: Final = 0.01
#: Step off the surface, so that a ray does not hit where it starts: float32 resolves 1e-6 here.
OFFSET: Final = 1e-3
#: Beyond it the ground is sky: float32 could no longer tell the tiles.
FAR: Final = 2e3
#: Steps of the sample sequence, as fractions of 2^32: place in the pixel (Roberts's R2), lens, sun,
#: roughness (roots of 2, 3, 5, 7, 11, 13: no two of them rational together).
PIXEL_STEPS: Final = (0xC13FA9A9, 0x91E10DA5, 0x6A09E667, 0xBB67AE85)
LIGHT_STEPS: Final = (0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C)
#: Light from the ground on what faces it, and how strong the sky lights.
BOUNCE_LIGHT: Final = (0.16, 0.14, 0.11)
SKY_LIGHT: Final = 0.45
#: How fast the ground's pattern fades to its mean, per square unit from the centre.
FADE: Final = 0.004
_TURN: Final = np.float32(2 * np.pi)
_UPWARD: Final = np.array([[0.0], [1.0], [0.0]], dtype=np.float32)
_BOUNCE: Final = np.array(BOUNCE_LIGHT, dtype=np.float32)[:, None]


def _dot(a: F32, b: F32) -> F32:
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def _normalised(a: F32) -> F32:
    return np.asarray(a / np.sqrt(_dot(a, a)), dtype=np.float32)


def _column(table: F32, row: int) -> F32:
    """A vector of the setting, ready to be combined with (3, n) arrays."""
    return np.asarray(table[row][:, None])


def _draws(words: tuple[U64, ...], steps: tuple[int, ...], sample: U64) -> list[F32]:
    """Sample s of each sequence: numbers in [0, 1) with 24 bits, which float32 holds exactly."""
    mask, low = np.uint64(0xFFFFFFFF), np.uint64(8)
    return [
        (((word + sample * np.uint64(step)) & mask) >> low).astype(np.float32)
        * np.float32(2.0**-24)
        for word, step in zip(words, steps, strict=True)
    ]


def _words(pixel: U64, bounce: int, seed: int) -> tuple[U64, ...]:
    zero = np.zeros(1, dtype=np.uint64)
    return philox((pixel, zero + np.uint64(bounce), zero, zero), split_seed(seed))


def trace(
    setting: F32, spheres: F32, x: npt.NDArray[np.int64], y: npt.NDArray[np.int64],
    size: tuple[int, int], samples: int, seed: int,
) -> U8:  # fmt: skip
    """SRGB levels of the pixels (x[i], y[i]) of a picture of `size` = (width, height)."""
    pixel = np.repeat((y * size[0] + x).astype(np.uint64), samples)
    sample = np.tile(np.arange(samples, dtype=np.uint64), len(x))
    draws = _draws(_words(pixel, 0, seed), PIXEL_STEPS, sample)
    origin, direction = _camera(setting, draws, np.repeat(x, samples), np.repeat(y, samples), size)
    light = np.zeros((3, len(pixel)), dtype=np.float32)
    weight = np.ones((3, len(pixel)), dtype=np.float32)
    alive = np.arange(len(pixel))
    for bounce in range(1, BOUNCES + 1):
        if not len(alive):
            break
        distance, which = _nearest(spheres, origin, direction)
        sky = which == len(spheres) + 1
        ended = alive[sky]
        light[:, ended] += weight[:, ended] * _sky(setting, direction[:, sky])
        hit = ~sky
        alive, which, incoming = alive[hit], which[hit], direction[:, hit]
        point = origin[:, hit] + incoming * distance[hit]
        draws = _draws(_words(pixel[alive], bounce, seed), LIGHT_STEPS, sample[alive])
        shaded, reflected, origin, direction = _surface(
            setting, spheres, point, incoming, which, draws
        )
        light[:, alive] += weight[:, alive] * shaded
        weight[:, alive] *= reflected
        strong = weight[:, alive].max(axis=0) > np.float32(WEIGHT_MIN)
        alive, origin, direction = alive[strong], origin[:, strong], direction[:, strong]
    light[:, alive] += weight[:, alive] * _sky(setting, direction)
    mean = light.reshape(3, len(x), samples).sum(axis=2) / np.float32(samples)
    return _levels(mean).T


def _camera(
    setting: F32, draws: list[F32], x: npt.NDArray[np.int64], y: npt.NDArray[np.int64],
    size: tuple[int, int],
) -> tuple[F32, F32]:  # fmt: skip
    """Rays through a thin lens: origins and unit directions."""
    aperture, focus, field = setting[LENS]
    width, height = np.float32(size[0]), np.float32(size[1])
    across = ((x.astype(np.float32) + draws[0]) - width / 2) / height * field * focus
    above = (height / 2 - (y.astype(np.float32) + draws[1])) / height * field * focus
    radius, turn = aperture * np.sqrt(draws[2]), _TURN * draws[3]
    lens_x, lens_y = radius * np.cos(turn), radius * np.sin(turn)
    right, up = _column(setting, RIGHT), _column(setting, UP)
    origin = _column(setting, EYE) + right * lens_x + up * lens_y
    direction = _column(setting, FORWARD) * focus + right * (across - lens_x)
    return origin, _normalised(direction + up * (above - lens_y))


def _nearest(spheres: F32, origin: F32, direction: F32) -> tuple[F32, npt.NDArray[np.int64]]:
    """Distance and number of the first surface: a sphere, n for the ground, n + 1 for the sky."""
    count = len(spheres)
    down = direction[1] < np.float32(-1e-6)
    ground = -origin[1] / np.where(down, direction[1], np.float32(-1))
    has_ground = down & (ground < np.float32(FAR))
    best = np.where(has_ground, ground, np.float32(FAR))
    which = np.where(has_ground, count, count + 1)
    for number, sphere in enumerate(spheres):
        away = origin - sphere[:3, None]
        along = _dot(away, direction)
        across = away - along * direction
        inside = sphere[3] * sphere[3] - _dot(across, across)
        distance = -along - np.sqrt(np.maximum(inside, np.float32(0)))
        closer = (inside > 0) & (distance > 0) & (distance < best)
        best = np.where(closer, distance, best)
        which = np.where(closer, number, which)
    return best, which


def _surface(
    setting: F32, spheres: F32, point: F32, incoming: F32,
    which: npt.NDArray[np.int64], draws: list[F32],
) -> tuple[F32, F32, F32, F32]:  # fmt: skip
    """Light sent out, share reflected, and the reflected ray."""
    normal, colour, base, metal, rough = _material(setting, spheres, point, which)
    start = point + normal * np.float32(OFFSET)
    shaded = _lit(setting, spheres, start, normal, draws) * colour * (1 - metal)
    facing = -_dot(incoming, normal)
    edge = np.maximum(1 - facing, np.float32(0))
    square = edge * edge
    fresnel = base + (1 - base) * (square * square * edge)
    tint = 1 - metal + metal * colour
    mirror = incoming + normal * (2 * facing)
    high = 1 - 2 * draws[2]
    ring = np.sqrt(np.maximum(1 - high * high, np.float32(0)))
    turn = _TURN * draws[3]
    spread = np.stack([ring * np.cos(turn), high, ring * np.sin(turn)])
    blurred = _normalised(mirror + rough * spread)
    direction = np.where(_dot(blurred, normal) > 0, blurred, mirror)
    return shaded * (1 - fresnel), tint * fresnel, start, direction


def _material(
    setting: F32, spheres: F32, point: F32, which: npt.NDArray[np.int64]
) -> tuple[F32, F32, F32, F32, F32]:
    """Normal, colour, reflection at right angles, metal and roughness at each point."""
    ground = which == len(spheres)
    rows = spheres[np.where(ground, 0, which)].T
    normal = np.where(ground, _UPWARD, (point - rows[:3]) / rows[3])
    light, dark = _column(setting, TILE_LIGHT), _column(setting, TILE_DARK)
    odd = (np.floor(point[0]) + np.floor(point[2])) % 2 != 0
    fade = 1 / (1 + np.float32(FADE) * (point[0] * point[0] + point[2] * point[2]))
    mean = (light + dark) * np.float32(0.5)
    tiles = mean + (np.where(odd, dark, light) - mean) * fade
    colour = np.where(ground, tiles, rows[4:7])
    base = np.where(ground, setting[GROUND, 0], rows[7])
    return (
        normal, colour, base,
        np.where(ground, np.float32(0), rows[8]), np.where(ground, setting[GROUND, 1], rows[9]),
    )  # fmt: skip


def _lit(setting: F32, spheres: F32, start: F32, normal: F32, draws: list[F32]) -> F32:
    """Light that arrives from the sun and the sky."""
    radius, turn = setting[SUN_SIZE, 0] * np.sqrt(draws[0]), _TURN * draws[1]
    aside = _column(setting, SUN_RIGHT) * (radius * np.cos(turn))
    sun = _normalised(
        _column(setting, SUN) + aside + _column(setting, SUN_UP) * (radius * np.sin(turn))
    )
    seen = np.maximum(_dot(normal, sun), np.float32(0))
    open_sky = np.ones_like(seen)
    for sphere in spheres:
        to_centre = sphere[:3, None] - start
        square, area = _dot(to_centre, to_centre), sphere[3] * sphere[3]
        above = np.maximum(_dot(to_centre, normal), np.float32(0))
        open_sky *= np.maximum(1 - above * area / (square * np.sqrt(square)), np.float32(0))
        along = _dot(to_centre, sun)
        across = to_centre - along * sun
        seen = np.where((along > 0) & (_dot(across, across) < area), np.float32(0), seen)
    upward = np.float32(0.5) + np.float32(0.5) * normal[1]
    sky = (_column(setting, ZENITH) + _column(setting, HORIZON)) * np.float32(SKY_LIGHT)
    ambient = (_BOUNCE + (sky - _BOUNCE) * upward) * open_sky
    return np.asarray(_column(setting, SUN_LIGHT) * seen + ambient)


def _sky(setting: F32, direction: F32) -> F32:
    """A blue gradient and the sun's glow; dimmer below the horizon, where only last rays look."""
    low = 1 - np.maximum(direction[1], np.float32(0))
    fourth = (low * low) * (low * low)
    horizon, zenith = _column(setting, HORIZON), _column(setting, ZENITH)
    colour = zenith + (horizon - zenith) * (fourth * fourth)
    near = np.maximum(_dot(direction, _column(setting, SUN)), np.float32(0))
    powers = [near]
    for _ in range(10):
        powers.append(powers[-1] * powers[-1])
    glow = np.float32(0.08) * powers[3] + np.float32(0.25) * powers[6] + 8 * powers[10]
    dim = np.where(direction[1] < 0, np.float32(0.5), np.float32(1))
    return np.asarray((colour + _column(setting, SUN_LIGHT) * glow) * dim)


def _levels(light: F32) -> U8:
    """Filmic tone curve, then gamma 2.2."""
    curve = light * (np.float32(2.51) * light + np.float32(0.03))
    curve /= light * (np.float32(2.43) * light + np.float32(0.59)) + np.float32(0.14)
    bright = np.clip(curve, np.float32(0), np.float32(1)) ** np.float32(1 / 2.2)
    return (bright * np.float32(255) + np.float32(0.5)).astype(np.uint8)
