/* The two programs that the settlement program calls, as far as it relies on them. */
#ifndef HYPER_OTHER_PROGRAMS_H
#define HYPER_OTHER_PROGRAMS_H

#include "host.h"

/* CreateAccount, Assign, Transfer and Allocate of the system program; TransferChecked of SPL Token. */
u64 call_other_program(const Instruction *call, const Account *accounts, u64 account_count,
                       const Signer *signers, u64 signer_count);

#endif
