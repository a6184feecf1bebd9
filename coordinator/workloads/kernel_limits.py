"""Bounds of a kernel's source and launch, each with its reason; docs/kernels.md shows them all.

Rules:
  1. What can be counted in the text is counted before CPython's parser sees it.
  2. A launch that passes is one that every CUDA device takes.
"""

from __future__ import annotations

from typing import Final

from coordinator.limits import KIB

# ---- the text ---------------------------------------------------------------------------------
#: Bytes of a source: half a specification, since JSON doubles some characters.
SOURCE_BYTES_MAX: Final = 32 * KIB
#: Words and signs of a source: checking is linear in them, some 30 ms at most.
SOURCE_TOKENS_MAX: Final = 12_000
#: Words and signs of one statement: they bound the depth of its tree before there is one.
STATEMENT_TOKENS_MAX: Final = 400
#: Brackets within brackets: CPython's parser takes some twenty levels of its stack for each.
BRACKETS_DEEP_MAX: Final = 24
#: Blocks within blocks, by indentation.
BLOCKS_DEEP_MAX: Final = 16
#: `elif` in a whole source: each is one level of the tree, whatever its indentation.
ELIFS_MAX: Final = 200
#: Characters of a line: what people read.
SOURCE_LINE_CHARS_MAX: Final = 500
#: Characters of a name.
SOURCE_NAME_CHARS_MAX: Final = 64
#: Characters of a number: 64 binary digits, or any f64 in full.
SOURCE_NUMBER_CHARS_MAX: Final = 72

# ---- its tree ---------------------------------------------------------------------------------
#: Levels of the tree: a sum of fifty terms in one statement. Readers of trees are recursive.
SOURCE_DEPTH_MAX: Final = 64
#: Functions of a source.
SOURCE_FUNCTIONS_MAX: Final = 64
#: Constants of a source.
SOURCE_CONSTANTS_MAX: Final = 256
#: Parameters of a function.
SOURCE_PARAMETERS_MAX: Final = 32
#: Nodes of the tree once every call holds the called function: compilers put them there, and
#: twenty functions that each call the one before twice would be a million.
INLINED_NODES_MAX: Final = 60_000
#: Steps of loops with constant bounds, loops within loops multiplied: 2^48 are a day of any core.
LOOP_STEPS_MAX: Final = 2**48
#: Sources that are remembered as read: 8 MiB of text at worst, and some times that of trees' facts.
SOURCES_CACHED_MAX: Final = 256

# ---- memory and launch ------------------------------------------------------------------------
#: Bytes of shared memory of a block, its arrays and what the launch asks for: every device has it.
SHARED_BYTES_MAX: Final = 48 * KIB
#: Bytes of local arrays of a thread, along a chain of calls: with 270,000 threads resident on a
#: large card, 2 GiB.
LOCAL_BYTES_MAX: Final = 8 * KIB
#: Threads of a block along x and y: CUDA's own.
BLOCK_XY_MAX: Final = 1024
#: Threads of a block along z: CUDA's own.
BLOCK_Z_MAX: Final = 64
#: Threads of a block in all: CUDA's own.
BLOCK_THREADS_MAX: Final = 1024
#: Blocks of a grid along x: CUDA's own.
GRID_X_MAX: Final = 2**31 - 1
#: Blocks of a grid along y and z: CUDA's own.
GRID_YZ_MAX: Final = 65_535
#: Threads of a launch, or indices of an extent: at a nanosecond each, twenty minutes of one core.
#: Larger work is a loop in each of them, or several jobs.
LAUNCH_THREADS_MAX: Final = 2**40
