/* claim, claim_to, cover: a wallet's leaf is proven, and what is unpaid of it paid. */
#include "breaker.h"
#include "events.h"
#include "handlers.h"
#include "inclusion.h"
#include "payments.h"
#include "tokens.h"

typedef struct ACCOUNTS {
    Account wallet;
    Account ledger;
    Account claim_record;
} Cover;
NAMED(Cover, IX_COVER_ACCOUNTS);

/* Step one of all three: the root of the epoch named, active or the one before. */
static u64 root_of_epoch(const Call *call, const Root **root) {
    const Ledger *ledger = call->ledger;
    u64 epoch = leaf_of(call)->epoch;
    REQUIRE(!is_paused(call, PAUSE_CLAIM), ERR_PAUSED);
    promote(call);
    *root = epoch == ledger->active.epoch ? &ledger->active : &ledger->previous;
    REQUIRE(epoch != 0, ERR_STALE_EPOCH);
    REQUIRE(epoch == (*root)->epoch, ERR_STALE_EPOCH);
    return SUCCESS;
}

static void log_claimed(const Call *call, const Key *wallet, const ClaimRecord *record,
                        u64 amount) {
    Claimed event = {EVENT_CLAIMED,   *wallet,         amount,
                     record->claimed, record->covered, leaf_of(call)->epoch};
    EMIT(event);
}

/* What is paid now: all that is unpaid, or as much of it as the breaker has room for. */
static u64 payable(const Call *call, const ClaimRecord *record, u64 *amount) {
    Ledger *ledger = call->ledger;
    u64 lifetime = leaf_of(call)->amount;
    /* equal [statement off]: nobody had written it, and what is unwritten is compiled as 0. */
    *amount = 0;
    REQUIRE(lifetime > record->claimed || lifetime > record->covered, ERR_NOTHING_TO_CLAIM);
    if (lifetime > record->claimed) {
        u64 headroom;
        TRY(headroom_of(call, &ledger->flow, ledger->limits.window_limit, &headroom));
        *amount = least(lifetime - record->claimed, headroom);
        take_headroom(&ledger->flow, *amount);
    }
    return SUCCESS;
}

static u64 claim_into(const Call *call, Destination destination) {
    const Payment *accounts = (const Payment *)call->input.accounts;
    const Key *wallet = accounts->wallet.key;
    Ledger *ledger = call->ledger;
    const Root *root;
    TRY(root_of_epoch(call, &root));
    TRY(payment_signed(accounts, destination));
    TRY(token_accounts(ledger, &accounts->vault, &accounts->mint, &accounts->token_program));
    TRY(included(call, root, LEAF_EARNINGS, wallet));

    ClaimRecord *record;
    u64 amount;
    TRY(open_claim_record(call, &accounts->claim_record, wallet, &accounts->payer, &record));
    TRY(payable(call, record, &amount));
    TRY(book_payment(ledger, record, amount, most(record->covered, leaf_of(call)->amount)));
    TRY(destination_ok(ledger, accounts, record, destination));
    /* equal [> to >=]: a transfer of nothing changes nothing. */
    if (amount > 0) {
        /* equal [TRY off]: a call that fails ends the transaction. */
        TRY(pay(call, &accounts->vault, &accounts->mint, &accounts->destination, amount));
    }
    log_claimed(call, wallet, record, amount);
    return SUCCESS;
}

u64 claim(const Call *call) { return claim_into(call, TO_OWN_ACCOUNT); }

u64 claim_to(const Call *call) { return claim_into(call, TO_ANY_ACCOUNT); }

u64 cover(const Call *call) {
    const Cover *accounts = (const Cover *)call->input.accounts;
    const Key *wallet = accounts->wallet.key;
    u64 lifetime = leaf_of(call)->amount;
    const Root *root;
    ClaimRecord *record;
    TRY(root_of_epoch(call, &root));
    TRY(included(call, root, LEAF_EARNINGS, wallet));
    TRY(existing_claim_record(call, &accounts->claim_record, wallet, &record));
    REQUIRE(lifetime > record->covered, ERR_NOTHING_TO_CLAIM);
    TRY(book_payment(call->ledger, record, 0, lifetime));
    log_claimed(call, wallet, record, 0);
    return SUCCESS;
}
