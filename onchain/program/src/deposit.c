/* deposit: tokens come in, for an owner or for the reserve. */
#include "events.h"
#include "handlers.h"
#include "records.h"
#include "roles.h"
#include "tokens.h"

typedef struct ACCOUNTS {
    Account payer;
    Account authority;
    Account owner;
    Account ledger;
    Account deposit_record;
    Account source;
    Account vault;
    Account mint;
    Account token_program;
    Account system_program;
} Deposit;
NAMED(Deposit, IX_DEPOSIT_ACCOUNTS);

/* The vault must hold exactly `amount` more afterwards. */
static u64 bring_in(const Call *call, const Deposit *accounts, u64 amount) {
    const Account *vault = &accounts->vault;
    Route route = {&accounts->source, &accounts->mint, vault, &accounts->authority};
    u64 before = token_bytes(vault)->amount;
    /* equal [TRY off]: a call that fails ends the transaction. */
    TRY(transfer(call, &route, amount, NULL));
    REQUIRE(token_bytes(vault)->amount - before == amount, ERR_TRANSFER_MISMATCH);
    return SUCCESS;
}

static u64 book(const Call *call, const Deposit *accounts, DepositRecord *record, u64 amount) {
    Ledger *ledger = call->ledger;
    u64 deposited;
    u64 total;
    u64 reserve = ledger->reserve;
    REQUIRE(!__builtin_add_overflow(record->deposited, amount, &deposited), ERR_OVERFLOW);
    REQUIRE(!__builtin_add_overflow(ledger->total_deposited, amount, &total), ERR_OVERFLOW);
    if (key_equal(accounts->owner.key, accounts->ledger.key)) {
        REQUIRE(!__builtin_add_overflow(reserve, amount, &reserve), ERR_OVERFLOW);
    }
    record->deposited = deposited;
    record->last_slot = call->slot;
    ledger->total_deposited = total;
    ledger->reserve = reserve;
    return SUCCESS;
}

u64 deposit(const Call *call) {
    const Deposit *accounts = (const Deposit *)call->input.accounts;
    const Ledger *ledger = call->ledger;
    u64 amount = load_u64(call->args);
    REQUIRE(amount != 0, ERR_BAD_ARGS);
    REQUIRE(!is_paused(call, PAUSE_DEPOSIT), ERR_PAUSED);
    TRY(signed_by(&accounts->payer));
    TRY(signed_by(&accounts->authority));
    TRY(token_accounts(ledger, &accounts->vault, &accounts->mint, &accounts->token_program));
    REQUIRE(!key_equal(accounts->source.key, accounts->vault.key), ERR_WRONG_VAULT);
    REQUIRE(amount >= ledger->limits.min_deposit, ERR_BELOW_MINIMUM);

    DepositRecord *record;
    TRY(open_deposit_record(call, &accounts->deposit_record, accounts->owner.key, &accounts->payer,
                            &record));
    TRY(bring_in(call, accounts, amount));
    TRY(book(call, accounts, record, amount));

    Deposited event = {EVENT_DEPOSITED, *accounts->owner.key, amount, record->deposited};
    EMIT(event);
    return SUCCESS;
}
