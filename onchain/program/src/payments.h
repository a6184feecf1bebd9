/* Claims and vouchers pay from one record of a wallet: what both do. */
#ifndef HYPER_PAYMENTS_H
#define HYPER_PAYMENTS_H

#include "records.h"

/* Accounts of claim and claim_to; those of redeem and redeem_to begin with them. */
typedef struct ACCOUNTS {
    Account payer;
    Account wallet;
    Account ledger;
    Account claim_record;
    Account vault;
    Account destination;
    Account mint;
    Account token_program;
    Account system_program;
} Payment;
NAMED(Payment, IX_CLAIM_ACCOUNTS);
NAMED(Payment, IX_CLAIM_TO_ACCOUNTS);

/* To whom the money may go. */
typedef enum { TO_OWN_ACCOUNT, TO_ANY_ACCOUNT } Destination;

/* The payer signs, and the wallet where it chooses the destination. */
u64 payment_signed(const Payment *accounts, Destination destination);

/* Write down that the wallet was paid `amount` and that a leaf of `covered` was proven.
 * Error: `ExceedsTotal` if more than all leaves would be paid, advances left out. */
u64 book_payment(Ledger *ledger, ClaimRecord *record, u64 amount, u64 covered);

/* Errors: those of `own_account` or `any_account`. */
u64 destination_ok(const Ledger *ledger, const Payment *accounts, ClaimRecord *record,
                   Destination destination);

#endif
