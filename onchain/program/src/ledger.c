/* What several instructions ask of a ledger: is a root due, and its activation. */
#include "ledger.h"

#include "events.h"

bool is_due(const Call *call) {
    const Ledger *ledger = call->ledger;
    return ledger->pending.epoch != 0 && !is_paused(call, PAUSE_PUBLISH)
        && call->now >= ledger->pending.active_at
        && (ledger->approved == 1 || call->slot >= ledger->pending_min_slot);
}

void promote(const Call *call) {
    Ledger *ledger = call->ledger;
    if (!is_due(call)) {
        return;
    }
    ledger->previous = ledger->active;
    ledger->active = ledger->pending;
    ledger->active.active_at = call->now;
    ledger->pending = (Root){0};
    ledger->pending_min_slot = 0;
    ledger->approved = 0;
    ledger->revocable = 1;

    RootActivated event = {
        EVENT_ROOT_ACTIVATED, ledger->active.epoch, ledger->active.root, ledger->active.total};
    EMIT(event);
}
