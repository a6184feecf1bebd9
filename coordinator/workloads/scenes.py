"""The scenes of `render`: numbers only, which the NumPy reference and the kernels read alike.

A scene is a table of spheres, one row of `SPHERE_COLUMNS` numbers each, and a table of vectors, the
*setting*, whose rows are named below. Axes: x to the right, y up, z towards the viewer; the ground
is the plane y = 0; colours are linear light.
"""

from __future__ import annotations

from functools import lru_cache
from math import cos, pi, radians, sin
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

F32: TypeAlias = npt.NDArray[np.float32]

#: Centre x, y, z, radius; red, green, blue; reflection at right angles; metal (0 or 1); roughness.
SPHERE_COLUMNS: Final = 10
#: Rows of the setting. LENS holds the aperture's radius, the distance in focus and the height of
#: the view at distance 1; SUN_SIZE the tangent of the sun's radius; GROUND reflection, roughness.
(
    EYE, RIGHT, UP, FORWARD, LENS, SUN, SUN_RIGHT, SUN_UP, SUN_SIZE, SUN_LIGHT, ZENITH, HORIZON,
    TILE_LIGHT, TILE_DARK, GROUND,
) = range(15)  # fmt: skip
SETTING_ROWS: Final = 15

SCENES: Final = ("marbles", "pyramid", "spiral")

_GOLD = (1.00, 0.71, 0.29)
_COPPER = (0.95, 0.55, 0.38)
_SILVER = (0.95, 0.94, 0.92)
_RAINBOW = (
    (0.90, 0.12, 0.10), (0.95, 0.42, 0.06), (0.95, 0.75, 0.10), (0.18, 0.62, 0.22),
    (0.06, 0.52, 0.60), (0.10, 0.25, 0.80), (0.42, 0.16, 0.70), (0.85, 0.16, 0.48),
)  # fmt: skip

_Colour: TypeAlias = tuple[float, float, float]
_Row: TypeAlias = tuple[float, ...]


def _ball(x: float, y: float, z: float, radius: float, colour: _Colour) -> _Row:
    """Lacquer: a coloured body under a clear coat."""
    return (x, y, z, radius, *colour, 0.05, 0.0, 0.0)


def _metal(
    x: float, y: float, z: float, radius: float, colour: _Colour, rough: float = 0.0
) -> _Row:
    return (x, y, z, radius, *colour, 0.92, 1.0, rough)


def _marbles() -> list[_Row]:
    """A mirror ball, eight lacquered ones around it, small metal ones outside."""
    rows = [_metal(0.0, 1.05, 0.0, 1.05, _SILVER)]
    for i, colour in enumerate(_RAINBOW):
        turn = 2 * pi * (i + 0.25) / 8
        rows.append(_ball(1.95 * cos(turn), 0.5, 1.95 * sin(turn), 0.5, colour))
    for i in range(8):
        turn = 2 * pi * (i + 0.75) / 8
        colour = (_GOLD, _COPPER)[i % 2]
        rows.append(_metal(2.75 * cos(turn), 0.26, 2.75 * sin(turn), 0.26, colour, 0.12))
    return rows


def _pyramid() -> list[_Row]:
    """Fourteen balls stacked 3 x 3, 2 x 2, 1; each layer rests in the hollows of the one below."""
    rows: list[_Row] = []
    materials = (_GOLD, _SILVER, _COPPER)
    for layer, side in enumerate((3, 2, 1)):
        y = 0.62 + layer * 0.62 * 2**0.5
        for i in range(side):
            for j in range(side):
                x, z = (1.24 * (k - (side - 1) / 2) for k in (i, j))
                if (i + j) % 2 == layer % 2:
                    rows.append(_metal(x, y, z, 0.62, materials[layer], 0.05))
                else:
                    rows.append(_ball(x, y, z, 0.62, _RAINBOW[(3 * i + j + 5 * layer) % 8]))
    return rows


def _spiral() -> list[_Row]:
    """Balls on a sunflower's spiral: a golden angle apart, smaller towards the rim."""
    rows: list[_Row] = []
    for i in range(22):
        turn, reach, radius = 2.39996 * i, 0.69 * (i + 0.6) ** 0.5, 0.56 * 0.965**i
        x, z = reach * cos(turn), reach * sin(turn)
        if i % 3:
            rows.append(_ball(x, radius, z, radius, _RAINBOW[i % 8]))
        else:
            metal = (_SILVER, _GOLD, _COPPER)[i // 3 % 3]
            rows.append(_metal(x, radius, z, radius, metal, 0.03))
    return rows


def _normalised(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(vector / np.sqrt((vector * vector).sum()))


def _setting(angle: float, target_y: float, distance: float, aperture: float) -> F32:
    """The camera on a circle around the scene, and a low warm sun in a blue sky."""
    turn = radians(angle)
    target = np.array([0.0, target_y, 0.0])
    eye = target + distance * np.array([sin(turn), 0.22, cos(turn)])
    forward = _normalised(target - eye)
    right = _normalised(np.cross(forward, np.array([0.0, 1.0, 0.0])))
    sun = _normalised(np.array([-0.70, 0.42, 0.40]))
    sun_right = _normalised(np.cross(sun, np.array([0.0, 1.0, 0.0])))
    rows = np.zeros((SETTING_ROWS, 3))
    rows[EYE], rows[RIGHT], rows[UP], rows[FORWARD] = eye, right, np.cross(right, forward), forward
    # The nearest surface of the middle is in focus; the field of view is 37 degrees high.
    rows[LENS] = aperture, float(np.sqrt(((target - eye) ** 2).sum())) - 1.0, 0.67
    rows[SUN], rows[SUN_RIGHT], rows[SUN_UP] = sun, sun_right, np.cross(sun_right, sun)
    rows[SUN_SIZE] = 0.055, 0.0, 0.0
    rows[SUN_LIGHT] = 1.40, 1.18, 0.88
    rows[ZENITH] = 0.06, 0.16, 0.42
    rows[HORIZON] = 0.55, 0.58, 0.60
    rows[TILE_LIGHT], rows[TILE_DARK] = (0.62, 0.59, 0.54), (0.06, 0.07, 0.09)
    rows[GROUND] = 0.05, 0.02, 0.0
    return rows.astype(np.float32)


@lru_cache(maxsize=64)
def scene(name: str, angle: float) -> tuple[F32, F32]:
    """The setting and the spheres of a scene; both read-only.

    Args:
        name: One of `SCENES`.
        angle: The camera's place on its circle, degrees.
    """
    builders = {"marbles": _marbles, "pyramid": _pyramid, "spiral": _spiral}
    views = {"marbles": (0.75, 7.6, 0.05), "pyramid": (1.1, 6.8, 0.04), "spiral": (0.45, 7.4, 0.06)}
    setting = _setting(angle, *views[name])
    spheres = np.array(builders[name](), dtype=np.float32)
    setting.flags.writeable = spheres.flags.writeable = False
    return setting, spheres
