/* A breaker's level falls by its limit in one window, evenly. */
#include "breaker.h"

/* No product exceeds 64 bits: a window is shorter than 2^22 seconds, `elapsed` shorter still. */
static u64 leaked(u64 limit, u64 window, u64 elapsed) {
    return limit / window * elapsed + limit % window * elapsed / window;
}

u64 headroom_of(const Call *call, Flow *flow, u64 limit, u64 *headroom) {
    u64 window = call->ledger->limits.window_secs;
    u64 elapsed = seconds_between(flow->updated_at, call->now);
    flow->level = elapsed >= window ? 0 : above(flow->level, leaked(limit, window, elapsed));
    flow->updated_at = later(flow->updated_at, call->now);
    *headroom = above(limit, flow->level);
    REQUIRE(*headroom != 0, ERR_RATE_LIMITED);
    return SUCCESS;
}
