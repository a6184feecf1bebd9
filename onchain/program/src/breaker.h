/* The breakers: leaky buckets that bound what leaves the vault in a window. */
#ifndef HYPER_BREAKER_H
#define HYPER_BREAKER_H

#include "ledger.h"

/* Let the level fall to what it is now and give the room left under `limit`.
 * Error: `RateLimited` if there is none. */
u64 headroom_of(const Call *call, Flow *flow, u64 limit, u64 *headroom);

/* Take what was paid from the room. */
INLINE void take_headroom(Flow *flow, u64 amount) { flow->level += amount; }

#endif
