/* Roots: published, approved, activated, cancelled, revoked. */
#include "events.h"
#include "handlers.h"
#include "roles.h"
#include "tokens.h"

typedef struct ACCOUNTS {
    Account authority;
    Account ledger;
    Account vault;
} PublishRoot;
NAMED(PublishRoot, IX_PUBLISH_ROOT_ACCOUNTS);

typedef struct LAYOUT {
    u64 epoch;
    Key root;
    Key data_hash;
    u64 total;
    u64 total_exitable;
    u32 leaf_count;
} PublishRootArgs;
SIZED(PublishRootArgs, IX_PUBLISH_ROOT_ARGS);

NAMED(AuthorityAndLedger, IX_APPROVE_ROOT_ACCOUNTS);
NAMED(AuthorityAndLedger, IX_CANCEL_ROOT_ACCOUNTS);
NAMED(AuthorityAndLedger, IX_REVOKE_ROOT_ACCOUNTS);

typedef struct LAYOUT {
    u64 epoch;
    Key root;
} ApproveRootArgs;
SIZED(ApproveRootArgs, IX_APPROVE_ROOT_ARGS);

/* What the total may rise by now: more after intervals without a root. UINT64_MAX: no cap. */
static u64 epoch_cap(const Call *call) {
    const Ledger *ledger = call->ledger;
    u64 increase = ledger->limits.max_epoch_increase;
    u64 passed = seconds_between(ledger->active.active_at, call->now);
    u64 intervals = least(CAP_INTERVALS_MAX, most(1, passed / ledger->limits.min_epoch_interval));
    u64 cap = 0;
    /* Added up: to check a product for overflow takes 128 bits, which the VM has not. */
    for (u64 i = 0; i < intervals; i++) {
        if (__builtin_add_overflow(cap, increase, &cap)) {
            return UINT64_MAX;
        }
    }
    return cap;
}

/* All that is promised is covered by deposits, and the vault holds what it owes. */
static u64 solvent(const Ledger *ledger, const PublishRootArgs *args, const Account *vault) {
    u64 promised;
    REQUIRE(!__builtin_add_overflow(args->total, args->total_exitable, &promised), ERR_INSOLVENT);
    REQUIRE(!__builtin_add_overflow(promised, ledger->reserve, &promised), ERR_INSOLVENT);
    REQUIRE(!__builtin_add_overflow(promised, ledger->total_withdrawn, &promised), ERR_INSOLVENT);
    REQUIRE(promised <= ledger->total_deposited, ERR_INSOLVENT);
    REQUIRE(token_bytes(vault)->amount >= owed_by(ledger), ERR_INSOLVENT);
    return SUCCESS;
}

static u64 publishable(const Call *call, const PublishRootArgs *args, const Account *vault) {
    const Ledger *ledger = call->ledger;
    const Root *active = &ledger->active;
    REQUIRE(ledger->pending.epoch == 0, ERR_ROOT_PENDING);
    REQUIRE(args->epoch != 0 && args->epoch - 1 == ledger->last_epoch, ERR_BAD_EPOCH);
    REQUIRE(seconds_between(active->published_at, call->now) >= ledger->limits.min_epoch_interval,
            ERR_TOO_SOON);
    REQUIRE(!key_is_zero(&args->root), ERR_EMPTY_ROOT);
    REQUIRE(args->leaf_count >= 1, ERR_EMPTY_ROOT);
    REQUIRE(args->total >= active->total, ERR_TOTAL_DECREASED);
    REQUIRE(args->total_exitable >= ledger->total_exited, ERR_TOTAL_DECREASED);
    REQUIRE(args->total - active->total <= epoch_cap(call), ERR_EXCEEDS_EPOCH_CAP);
    return solvent(ledger, args, vault);
}

u64 publish_root(const Call *call) {
    const PublishRoot *accounts = (const PublishRoot *)call->input.accounts;
    const PublishRootArgs *args = (const PublishRootArgs *)call->args;
    Ledger *ledger = call->ledger;
    TRY(has_role(&accounts->authority, &ledger->roles.publisher));
    REQUIRE(!is_paused(call, PAUSE_PUBLISH), ERR_PAUSED);
    REQUIRE(key_equal(accounts->vault.key, &ledger->vault), ERR_WRONG_VAULT);
    promote(call);
    TRY(publishable(call, args, &accounts->vault));

    u64 delay = ledger->limits.slow_delay;
    ledger->pending = (Root){
        .epoch = args->epoch,
        .root = args->root,
        .data_hash = args->data_hash,
        .total = args->total,
        .total_exitable = args->total_exitable,
        .published_at = call->now,
        .active_at = seconds_after(call->now, delay),
        .leaf_count = args->leaf_count,
    };
    ledger->pending_min_slot = call->slot + SLOTS_PER_SECOND_SLOW * delay;
    ledger->approved = 0;
    ledger->last_epoch = args->epoch;

    RootPublished event = {EVENT_ROOT_PUBLISHED, args->epoch, args->root, args->total,
                           ledger->pending.active_at};
    EMIT(event);
    return SUCCESS;
}

u64 approve_root(const Call *call) {
    const AuthorityAndLedger *accounts = (const AuthorityAndLedger *)call->input.accounts;
    const ApproveRootArgs *args = (const ApproveRootArgs *)call->args;
    Ledger *ledger = call->ledger;
    Root *pending = &ledger->pending;
    TRY(has_role(&accounts->authority, &ledger->roles.guardian));
    REQUIRE(pending->epoch != 0, ERR_NO_PENDING_ROOT);
    REQUIRE(pending->epoch == args->epoch, ERR_NO_PENDING_ROOT);
    REQUIRE(key_equal(&pending->root, &args->root), ERR_NO_PENDING_ROOT);

    pending->active_at =
        sooner(pending->active_at, seconds_after(call->now, ledger->limits.fast_delay));
    ledger->approved = 1;

    RootApproved event = {
        EVENT_ROOT_APPROVED, pending->epoch, pending->root, pending->active_at};
    EMIT(event);
    return SUCCESS;
}

u64 activate_root(const Call *call) {
    REQUIRE(!is_paused(call, PAUSE_PUBLISH), ERR_PAUSED);
    REQUIRE(call->ledger->pending.epoch != 0, ERR_NO_PENDING_ROOT);
    REQUIRE(is_due(call), ERR_NOT_DUE);
    promote(call);
    return SUCCESS;
}

u64 cancel_root(const Call *call) {
    const AuthorityAndLedger *accounts = (const AuthorityAndLedger *)call->input.accounts;
    u64 epoch = load_u64(call->args);
    Ledger *ledger = call->ledger;
    TRY(has_either_role(&accounts->authority, &ledger->roles.guardian, &ledger->roles.admin));
    REQUIRE(ledger->pending.epoch != 0, ERR_NO_PENDING_ROOT);
    REQUIRE(ledger->pending.epoch == epoch, ERR_NO_PENDING_ROOT);

    RootCancelled event = {EVENT_ROOT_CANCELLED, epoch, ledger->pending.root};
    ledger->pending = (Root){0};
    ledger->pending_min_slot = 0;
    ledger->approved = 0;
    EMIT(event);
    return SUCCESS;
}

/* What was paid under the revoked root stays paid, and is not promised to depositors again. */
static void restore_totals(Ledger *ledger) {
    Root *active = &ledger->active;
    /* equal [above to -]: what was advanced is a part of what was claimed. */
    active->total = most(active->total, above(ledger->total_claimed, ledger->advance));
    /* equal [above to -]: what was withdrawn is a part of what was deposited. */
    u64 free = above(ledger->total_deposited, ledger->total_withdrawn);
    free = above(above(free, ledger->reserve), active->total);
    active->total_exitable = most(ledger->total_exited, least(active->total_exitable, free));
}

u64 revoke_root(const Call *call) {
    const AuthorityAndLedger *accounts = (const AuthorityAndLedger *)call->input.accounts;
    u64 epoch = load_u64(call->args);
    Ledger *ledger = call->ledger;
    Root *active = &ledger->active;
    TRY(has_either_role(&accounts->authority, &ledger->roles.guardian, &ledger->roles.admin));
    REQUIRE(ledger->revocable == 1, ERR_NOT_REVOCABLE);
    REQUIRE(active->epoch != 0, ERR_NOT_REVOCABLE);
    REQUIRE(active->epoch == epoch, ERR_NOT_REVOCABLE);

    RootRevoked event = {EVENT_ROOT_REVOKED, epoch, active->root, ledger->previous.epoch};
    *active = ledger->previous;
    active->active_at = call->now; /* depositors of an older root do not leave at once */
    restore_totals(ledger);
    ledger->previous = (Root){0};
    ledger->revocable = 0;
    EMIT(event);
    return SUCCESS;
}
