/* New accounts of this program. */
#ifndef HYPER_CREATION_H
#define HYPER_CREATION_H

#include "ledger.h"

typedef struct {
    const Account *payer; /* signs the transaction */
    const Account *account;
    u64 size;
    Signer signer; /* the seeds of the account's address */
} Creation;

/* Make an account of `size` zero bytes that belongs to this program, also at an address to which
 * somebody sent lamports before. Error: `UnsupportedRent`, or the system program's. */
u64 create_account(const Input *input, const Creation *creation);

#endif
