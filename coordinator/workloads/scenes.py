"""The scenes of `render`: numbers only, which the NumPy reference and the kernels read alike.

A scene is a table of spheres, one row of `SPHERE_COLUMNS` numbers each, and a table of vectors, the
*setting*, whose rows are named below. Axes: x to the right, y up, z towards the viewer; the ground
is the plane y = 0; colours are linear light.
"""

from __future__ import annotations

from functools import cache
from math import cos, pi, radians, sin
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

F32: TypeAlias = npt.NDArray[np.float32]

#: Centre x, y, z, radius; red, green, blue; reflection at right angles; metal (0 or 1); roughness.
SPHERE_COLUMNS: Final = 10
#: Rows of the setting. The view's four axes carry the image plane's size; LENS holds the aperture's
#: radius and the distance in focus; SUN_SIZE holds the tangent of the sun's radius, as we draw it.
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
    """Balls that shrink along two turns of a spiral, in the colours of the rainbow."""
    rows: list[_Row] = []
    for i in range(20):
        turn, radius = 0.62 * i, 0.85 * 0.9**i
        reach = 0.35 + 0.17 * i
        colour = _RAINBOW[i % 8]
        x, z = reach * cos(turn), reach * sin(turn)
        if i % 3:
            rows.append(_ball(x, radius, z, radius, colour))
        else:
            rows.append(_metal(x, radius, z, radius, (_SILVER, _GOLD)[i % 2], 0.03))
    return rows


def _normalised(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vector / np.sqrt((vector * vector).sum())


def _setting(angle: float, target_y: float, distance: float, aperture: float) -> F32:
    """The camera on a circle around the scene, and a low warm sun in a blue sky."""
    turn = radians(angle)
    target = np.array([0.0, target_y, 0.0])
    eye = target + distance * np.array([sin(turn), 0.36, cos(turn)])
    forward = _normalised(target - eye)
    right = _normalised(np.cross(forward, np.array([0.0, 1.0, 0.0])))
    sun = _normalised(np.array([-0.62, 0.52, 0.45]))
    sun_right = _normalised(np.cross(sun, np.array([0.0, 1.0, 0.0])))
    rows = np.zeros((SETTING_ROWS, 3))
    rows[EYE], rows[RIGHT], rows[UP], rows[FORWARD] = eye, right, np.cross(right, forward), forward
    # The nearest surface of the middle is in focus; the field of view is 37 degrees high.
    rows[LENS] = aperture, float(np.sqrt(((target - eye) ** 2).sum())) - 1.0, 0.67
    rows[SUN], rows[SUN_RIGHT], rows[SUN_UP] = sun, sun_right, np.cross(sun_right, sun)
    rows[SUN_SIZE] = 0.055, 0.0, 0.0
    rows[SUN_LIGHT] = 2.60, 2.25, 1.75
    rows[ZENITH] = 0.13, 0.29, 0.66
    rows[HORIZON] = 0.82, 0.85, 0.88
    rows[TILE_LIGHT], rows[TILE_DARK] = (0.72, 0.70, 0.66), (0.10, 0.11, 0.13)
    rows[GROUND] = 0.04, 0.0, 0.0
    return rows.astype(np.float32)


@cache
def scene(name: str, angle: float) -> tuple[F32, F32]:
    """The setting and the spheres of a scene; both read-only.

    Args:
        name: One of `SCENES`.
        angle: The camera's place on its circle, degrees.
    """
    builders = {"marbles": _marbles, "pyramid": _pyramid, "spiral": _spiral}
    views = {"marbles": (0.72, 8.6, 0.05), "pyramid": (1.0, 7.6, 0.04), "spiral": (0.4, 9.4, 0.07)}
    setting = _setting(angle, *views[name])
    spheres = np.array(builders[name](), dtype=np.float32)
    setting.flags.writeable = spheres.flags.writeable = False
    return setting, spheres
