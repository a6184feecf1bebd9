/* set_paused: the administrator pauses until it is lifted, the guardian for a while. */
#include "events.h"
#include "handlers.h"
#include "roles.h"

NAMED(AuthorityAndLedger, IX_SET_PAUSED_ACCOUNTS);
_Static_assert(IX_SET_PAUSED_ARGS == 1, "flags");

_Static_assert(FLAG_DEPOSIT == 1 << PAUSE_DEPOSIT && FLAG_CLAIM == 1 << PAUSE_CLAIM, "places");
_Static_assert(FLAG_PUBLISH == 1 << PAUSE_PUBLISH && FLAG_REDEEM == 1 << PAUSE_REDEEM, "places");

/* Until when the guardian's pause lasts: one of three days in ten, counted from its first flag. */
static u64 guardian_pause(const Call *call, i64 *until) {
    Ledger *ledger = call->ledger;
    i64 end = seconds_after(ledger->guardian_paused_at, GUARDIAN_PAUSE);
    bool has_paused = ledger->guardian_paused_at != 0;
    if (!has_paused || call->now >= end) {
        REQUIRE(!has_paused || call->now >= seconds_after(end, GUARDIAN_REST), ERR_PAUSE_SPENT);
        ledger->guardian_paused_at = call->now;
        end = seconds_after(call->now, GUARDIAN_PAUSE);
    }
    *until = end;
    return SUCCESS;
}

/* Whoever pauses claims: not for long, and after as long a rest. */
static u64 bound_claim_pause(const Call *call, i64 *until) {
    Ledger *ledger = call->ledger;
    i64 start = ledger->claim_paused_at;
    i64 end = ledger->paused_until[PAUSE_CLAIM];
    if (!is_paused(call, PAUSE_CLAIM)) {
        i64 rested_at = seconds_after(end, seconds_between(start, end));
        REQUIRE(start == 0 || call->now >= rested_at, ERR_PAUSE_SPENT);
        ledger->claim_paused_at = call->now;
        /* equal [statement off]: what has passed is before every end that follows. */
        ledger->paused_until[PAUSE_CLAIM] = 0;
    }
    *until = sooner(*until, seconds_after(ledger->claim_paused_at, CLAIM_PAUSE));
    return SUCCESS;
}

static u64 pause_all(const Call *call, u64 flags, i64 until) {
    Ledger *ledger = call->ledger;
    /* equal [< to <=]: no flag above the fourth gets here. */
    for (u64 pause = 0; pause < PAUSES; pause++) {
        i64 end = until;
        if ((flags >> pause & 1) == 0) {
            continue;
        }
        if (pause == PAUSE_CLAIM) {
            TRY(bound_claim_pause(call, &end));
        }
        ledger->paused_until[pause] = later(ledger->paused_until[pause], end);
    }
    return SUCCESS;
}

u64 set_paused(const Call *call) {
    const AuthorityAndLedger *accounts = (const AuthorityAndLedger *)call->input.accounts;
    const Account *authority = &accounts->authority;
    Ledger *ledger = call->ledger;
    u8 flags = call->args[0];
    i64 until = NEVER;
    TRY(has_either_role(authority, &ledger->roles.admin, &ledger->roles.guardian));
    bool is_guardian = key_equal(authority->key, &ledger->roles.guardian);
    REQUIRE(flags <= FLAGS_ALL, ERR_BAD_ARGS);
    REQUIRE(flags != 0 || !is_guardian, ERR_BAD_ARGS);
    if (is_guardian) {
        TRY(guardian_pause(call, &until));
    } else {
        ledger->guardian_paused_at = 0;
    }
    TRY(pause_all(call, flags, until));

    PausedSet event = {EVENT_PAUSED_SET, flags, *authority->key};
    EMIT(event);
    return SUCCESS;
}
