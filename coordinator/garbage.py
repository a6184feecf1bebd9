"""Garbage is looked for while nobody waits: small searches between two commits.

In:   whether something waits for the house. Out: nothing; cycles are freed.
Why: Python looks by itself once `GC_THRESHOLDS` new objects are alive, wherever the program is: at
1,000 jobs a second that stops everybody for 6 ms every 3.4 s, and what came meanwhile is behind it
(measured: 0.3 µs an object). Thresholds that are low enough for that would start a search at each
message of a batched load, among objects that soon go by themselves.
Rules:
  1. A search takes the two youngest generations: what it has seen is not looked at again, so each
     takes as long as what is new since the last one.
  2. A house that is never quiet searches by the thresholds alone.
Not covered: a full search, which the thresholds alone begin: it takes as long as all that lives.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

import trio

#: How often it is asked whether there is enough to look at, s: at 1,000 jobs a second some 600 new
#: objects stay meanwhile (measured).
LOOK_EVERY_S: Final = 0.1
#: The same while there is enough and somebody waits: quiet moments are short on a busy house.
LOOK_AGAIN_S: Final = 0.005
#: New objects that are worth a search: a third of a millisecond.
NEW_OBJECTS_MIN: Final = 1_000
#: The oldest generation that a quiet moment's search takes in.
_GENERATION: Final = 1


async def collect_when_quiet(is_quiet: Callable[[], bool]) -> None:
    """Search in quiet moments, for ever."""
    while True:
        is_due = gc.get_count()[0] >= NEW_OBJECTS_MIN
        if is_due and is_quiet():
            gc.collect(_GENERATION)
            is_due = False
        await trio.sleep(LOOK_AGAIN_S if is_due else LOOK_EVERY_S)
