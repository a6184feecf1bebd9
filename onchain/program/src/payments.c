/* What a claim and a voucher have in common: signatures, the books, the destination. */
#include "payments.h"

#include "roles.h"
#include "tokens.h"

u64 payment_signed(const Payment *accounts, Destination destination) {
    TRY(signed_by(&accounts->payer));
    if (destination == TO_ANY_ACCOUNT) {
        TRY(signed_by(&accounts->wallet));
    }
    return SUCCESS;
}

u64 book_payment(Ledger *ledger, ClaimRecord *record, u64 amount, u64 covered) {
    u64 claimed = record->claimed + amount;
    u64 advance = ledger->advance - above(record->claimed, record->covered)
        + above(claimed, covered);
    u64 total_claimed;
    REQUIRE(!__builtin_add_overflow(ledger->total_claimed, amount, &total_claimed),
            ERR_EXCEEDS_TOTAL);
    /* equal [above to -]: what was advanced is a part of what was claimed. */
    REQUIRE(above(total_claimed, advance) <= ledger->active.total, ERR_EXCEEDS_TOTAL);

    record->claimed = claimed;
    record->covered = covered;
    ledger->advance = advance;
    ledger->total_claimed = total_claimed;
    return SUCCESS;
}

u64 destination_ok(const Ledger *ledger, const Payment *accounts, ClaimRecord *record,
                   Destination destination) {
    if (destination == TO_ANY_ACCOUNT) {
        return any_account(ledger, &accounts->destination);
    }
    return own_account(ledger, &accounts->destination, accounts->wallet.key, &record->ata_bump);
}
