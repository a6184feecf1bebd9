"""render: a picture by ray tracing: spheres on a chequered ground, soft shadows, reflections.

Output:  `image` (height, width, 3) uint8, sRGB, row 0 on top.
Block:   a square tile; its side falls with the samples a pixel, so that the reference stays fast.
Sample:  s of a pixel: Philox words of the counter (pixel, bounce, 0, 0) plus s times an irrational
         step, modulo 2^32: exact integers, and even coverage. Bounce 0 draws the place in the pixel
         and on the lens, bounce b >= 1 the point on the sun and the roughness of the reflection.
Light:   `raytrace.py` is the definition; all of it in float32, as a GPU computes fast.
Work:    `RAY_FLOP` a ray and sphere; a sample traces about three rays with their shadows.
Source:  Whitted 1980; Cook, Porter, Carpenter 1984; Roberts, "The unreasonable effectiveness of
         quasirandom sequences", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import numpy as np
from msgspec import Meta

from coordinator.limits import BLOCKS_MAX
from coordinator.protocol.arrays import AnyArray
from coordinator.workloads.raytrace import trace
from coordinator.workloads.scenes import scene
from coordinator.workloads.workload import (
    NO_INPUTS,
    InputArrays,
    OutputSchema,
    Params,
    Seed,
    Work,
    Workload,
)

SIDE_MAX: Final = 4096
SAMPLES_MAX: Final = 256
#: A quadratic equation, or a shadow and occlusion term: about this many operations.
RAY_FLOP: Final = 20
#: Rays of a sample, those towards the sun included, on the average of our scenes.
_RAYS: Final = 4
#: Sampling, shading and the sky, a sample.
_SAMPLE_FLOP: Final = 600
#: Samples in a tile: 2^12 cost the reference some 20 ms.
_TILE_SAMPLES: Final = 2**12
_TILE_MIN: Final = 8
_TILE_MAX: Final = 32

#: Float32 arithmetic differs in its last bits between devices (contraction, square roots, sines),
#: which moves a level of 256 by one where a value lies near a rounding step.
_LEVELS: Final = 2
#: Near an edge those bits decide whether a ray hits: one sample of a pixel then changes sides. With
#: and without contraction (the CPU kernel compiled both ways; nine pictures of 480 x 300) such were
#: at most 3 pixels of 100,000, never two in a tile. A tile of another seed or angle, or of fewer
#: bounces or samples, differs in far more than one pixel of fifty, unless it shows nothing but sky.
_OUTLIERS: Final = 0.02
_OUTLIERS_MIN: Final = 2


class RenderParams(Params, frozen=True):
    #: Pixels of a row.
    width: Annotated[int, Meta(ge=1, le=SIDE_MAX)]
    #: Rows.
    height: Annotated[int, Meta(ge=1, le=SIDE_MAX)]
    #: Samples of one pixel: 1 is coarse, 16 is smooth, 64 is clean.
    samples: Annotated[int, Meta(ge=1, le=SAMPLES_MAX)] = 16
    #: What is to be seen.
    scene: Literal["marbles", "pyramid", "spiral"] = "marbles"
    #: The camera's place on its circle around the scene, degrees.
    angle: Annotated[float, Meta(ge=-360.0, le=360.0)] = 0.0
    #: The same seed gives the same picture.
    seed: Seed = 0

    @property
    def tile(self) -> int:
        """Side of a tile, pixels; tiles at the right and lower edge may be smaller."""
        side = _TILE_MAX
        while side > _TILE_MIN and side * side * self.samples > _TILE_SAMPLES:
            side //= 2
        return side


class Render(Workload[RenderParams]):
    """A picture by ray tracing."""

    kind = "render"
    params_type = RenderParams

    def work(self, params: RenderParams) -> Work:
        _, spheres = scene(params.scene, params.angle)
        pixels = params.width * params.height
        flop = pixels * params.samples * (_RAYS * RAY_FLOP * len(spheres) + _SAMPLE_FLOP)
        return Work(flop=flop, bytes=3 * pixels)

    def schema(self, params: RenderParams) -> tuple[OutputSchema, ...]:
        return (OutputSchema("image", "uint8", (params.height, params.width, 3)),)

    def blocks(self, params: RenderParams) -> int:
        return -(-params.width // params.tile) * -(-params.height // params.tile)

    def reference(
        self,
        params: RenderParams,
        block: int,
        inputs: InputArrays = NO_INPUTS,  # noqa: ARG002 - an interface
    ) -> tuple[AnyArray, ...]:
        rows, columns = _tile(params, block)
        y, x = np.mgrid[rows, columns]
        setting, spheres = scene(params.scene, params.angle)
        size = (params.width, params.height)
        levels = trace(setting, spheres, x.ravel(), y.ravel(), size, params.samples, params.seed)
        return (levels.reshape(*x.shape, 3),)

    def extract(
        self, params: RenderParams, outputs: Sequence[AnyArray], block: int
    ) -> tuple[AnyArray, ...]:
        rows, columns = _tile(params, block)
        return (outputs[0][rows, columns],)

    def disagreement(
        self,
        params: RenderParams,  # noqa: ARG002 - an interface
        block: int,  # noqa: ARG002 - an interface
        claimed: Sequence[AnyArray],
        reference: Sequence[AnyArray],
    ) -> str:
        difference = np.abs(claimed[0].astype(np.int16) - reference[0].astype(np.int16))
        outliers = int((difference.max(axis=2) > _LEVELS).sum())
        pixels = difference.shape[0] * difference.shape[1]
        # Of the smallest pictures never more than a tenth: a few pixels are no reason to believe.
        if outliers <= max(_OUTLIERS * pixels, min(_OUTLIERS_MIN, pixels // 10)):
            return ""
        return f"{outliers} of {pixels} pixels differ by more than {_LEVELS} levels"


def _tile(params: RenderParams, block: int) -> tuple[slice, slice]:
    """Rows and columns of a tile; tiles follow each other line by line."""
    side = params.tile
    row, column = divmod(block, -(-params.width // side))
    return (
        slice(row * side, min((row + 1) * side, params.height)),
        slice(column * side, min((column + 1) * side, params.width)),
    )


assert (SIDE_MAX // _TILE_MIN) ** 2 <= BLOCKS_MAX
