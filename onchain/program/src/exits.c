/* exit, request_exit, cancel_exit: a depositor takes unspent credit back without us. */
#include "breaker.h"
#include "events.h"
#include "handlers.h"
#include "inclusion.h"
#include "records.h"
#include "roles.h"
#include "tokens.h"

typedef struct ACCOUNTS {
    Account owner;
    Account ledger;
    Account deposit_record;
    Account vault;
    Account destination;
    Account mint;
    Account token_program;
} Exit;
NAMED(Exit, IX_EXIT_ACCOUNTS);

typedef struct ACCOUNTS {
    Account owner;
    Account ledger;
    Account deposit_record;
} AskExit;
NAMED(AskExit, IX_REQUEST_EXIT_ACCOUNTS);
NAMED(AskExit, IX_CANCEL_EXIT_ACCOUNTS);

/* The first door opens when no root has followed for long: the coordinator is gone. */
static bool is_abandoned(const Call *call) {
    const Ledger *ledger = call->ledger;
    return seconds_between(ledger->active.active_at, call->now) >= ledger->limits.exit_after;
}

/* The second opens some time after the owner's request, under a root that can know of it. */
static bool is_request_ripe(const Call *call, const DepositRecord *record) {
    const Ledger *ledger = call->ledger;
    i64 requested_at = record->exit_requested_at;
    return requested_at != 0
        && seconds_between(requested_at, call->now) >= ledger->limits.exit_after
        && ledger->active.published_at >= seconds_after(requested_at, EXIT_SETTLE);
}

static u64 payable(const Call *call, const DepositRecord *record, u64 *amount) {
    Ledger *ledger = call->ledger;
    u64 exitable = leaf_of(call)->amount;
    u64 headroom;
    REQUIRE(exitable > record->exited, ERR_NOTHING_TO_EXIT);
    TRY(headroom_of(call, &ledger->flow, ledger->limits.window_limit, &headroom));
    *amount = least(exitable - record->exited, headroom);
    take_headroom(&ledger->flow, *amount);
    return SUCCESS;
}

static u64 book(Ledger *ledger, DepositRecord *record, u64 amount) {
    u64 total;
    REQUIRE(!__builtin_add_overflow(ledger->total_exited, amount, &total), ERR_EXCEEDS_TOTAL);
    REQUIRE(total <= ledger->active.total_exitable, ERR_EXCEEDS_TOTAL);
    /* Else the pending root, once active, would promise more than is left. */
    REQUIRE(ledger->pending.epoch == 0 || total <= ledger->pending.total_exitable,
            ERR_EXCEEDS_TOTAL);
    ledger->total_exited = total;
    record->exited += amount;
    return SUCCESS;
}

u64 exit_credit(const Call *call) {
    const Exit *accounts = (const Exit *)call->input.accounts;
    const Key *owner = accounts->owner.key;
    Ledger *ledger = call->ledger;
    REQUIRE(!is_paused(call, PAUSE_CLAIM), ERR_PAUSED);
    promote(call);
    REQUIRE(leaf_of(call)->epoch != 0, ERR_STALE_EPOCH);
    REQUIRE(leaf_of(call)->epoch == ledger->active.epoch, ERR_STALE_EPOCH);
    TRY(token_accounts(ledger, &accounts->vault, &accounts->mint, &accounts->token_program));
    TRY(included(call, &ledger->active, LEAF_EXIT, owner));

    DepositRecord *record;
    u64 amount;
    u8 bump = 0;
    TRY(existing_deposit_record(call, &accounts->deposit_record, owner, &record));
    REQUIRE(is_abandoned(call) || is_request_ripe(call, record), ERR_EXIT_CLOSED);
    TRY(payable(call, record, &amount));
    TRY(book(ledger, record, amount));
    TRY(own_account(ledger, &accounts->destination, owner, &bump));
    /* equal [TRY off]: a call that fails ends the transaction. */
    TRY(pay(call, &accounts->vault, &accounts->mint, &accounts->destination, amount));

    Exited event = {EVENT_EXITED, *owner, amount, record->exited};
    EMIT(event);
    return SUCCESS;
}

static u64 own_record(const Call *call, DepositRecord **record) {
    const AskExit *accounts = (const AskExit *)call->input.accounts;
    TRY(signed_by(&accounts->owner));
    return existing_deposit_record(call, &accounts->deposit_record, accounts->owner.key, record);
}

static void ask(DepositRecord *record, i64 requested_at) {
    record->exit_requested_at = requested_at;
    ExitAsked event = {EVENT_EXIT_ASKED, record->owner, requested_at};
    EMIT(event);
}

u64 request_exit(const Call *call) {
    DepositRecord *record;
    TRY(own_record(call, &record));
    REQUIRE(record->exit_requested_at == 0, ERR_EXIT_REQUESTED);
    ask(record, call->now);
    return SUCCESS;
}

u64 cancel_exit(const Call *call) {
    DepositRecord *record;
    TRY(own_record(call, &record));
    REQUIRE(record->exit_requested_at != 0, ERR_NO_EXIT_REQUEST);
    ask(record, 0);
    return SUCCESS;
}
