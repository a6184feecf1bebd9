/* What the hosts of a program share: its system calls, and what a host decides of them. */
#ifndef HYPER_HOST_H
#define HYPER_HOST_H

#include "sbpf.h"

/* A call to another program; anything but SUCCESS ends the transaction on a chain. */
typedef u64 OtherProgram(const Instruction *call, const Account *accounts, u64 account_count,
                         const Signer *signers, u64 signer_count);

typedef struct {
    Clock clock;
    Rent rent;
    /* NULL: calls to other programs succeed and do nothing. */
    OtherProgram *other_program;
    /* An address that is looked for is one of these, if a bump gives one; else its bump is 255:
     * whether an address is off the curve is not asked here. */
    const Key *known[24];
    u64 known_count;
    /* Whose seeds sign calls to other programs. */
    const Key *program;
    u8 returned[1024];
    u64 returned_len;
} Host;

extern Host host;

/* Forget what the last call left behind. */
void begin_call(void);

u64 entrypoint(u8 *raw);

#endif
