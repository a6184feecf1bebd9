/* Claim and deposit records: what a wallet was paid, what an owner brought in. */
#ifndef HYPER_RECORDS_H
#define HYPER_RECORDS_H

#include "ledger.h"

typedef struct LAYOUT {
    u64 tag;
    u64 claimed;
    u64 covered;
    u8 bump;
    u8 ata_bump;
    u8 reserved[6];
} ClaimRecord;

AT(ClaimRecord, claimed, CLAIM_RECORD_CLAIMED);
AT(ClaimRecord, covered, CLAIM_RECORD_COVERED);
AT(ClaimRecord, bump, CLAIM_RECORD_BUMP);
AT(ClaimRecord, ata_bump, CLAIM_RECORD_ATA_BUMP);
SIZED(ClaimRecord, CLAIM_RECORD_SIZE);

typedef struct LAYOUT {
    u64 tag;
    Key ledger;
    Key owner;
    u64 deposited;
    u64 exited;
    u64 last_slot;
    i64 exit_requested_at;
    u8 bump;
    u8 reserved[7];
} DepositRecord;

AT(DepositRecord, ledger, DEPOSIT_RECORD_LEDGER);
AT(DepositRecord, owner, DEPOSIT_RECORD_OWNER);
AT(DepositRecord, deposited, DEPOSIT_RECORD_DEPOSITED);
AT(DepositRecord, exited, DEPOSIT_RECORD_EXITED);
AT(DepositRecord, last_slot, DEPOSIT_RECORD_LAST_SLOT);
AT(DepositRecord, exit_requested_at, DEPOSIT_RECORD_EXIT_REQUESTED_AT);
AT(DepositRecord, bump, DEPOSIT_RECORD_BUMP);
SIZED(DepositRecord, DEPOSIT_RECORD_SIZE);

/* The record of `wallet`, which must exist. Error: `InvalidRecord`. */
u64 existing_claim_record(const Call *call, const Account *account, const Key *wallet,
                          ClaimRecord **record);

/* The record of `wallet`; `payer` pays for one where there is none. Error: `InvalidRecord`. */
u64 open_claim_record(const Call *call, const Account *account, const Key *wallet,
                      const Account *payer, ClaimRecord **record);

u64 existing_deposit_record(const Call *call, const Account *account, const Key *owner,
                            DepositRecord **record);

u64 open_deposit_record(const Call *call, const Account *account, const Key *owner,
                        const Account *payer, DepositRecord **record);

#endif
