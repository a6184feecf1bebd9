/* A small program for the tests of the build: a total that its owner raises, and some arithmetic. */
#ifndef TALLY_H
#define TALLY_H

#define ACCOUNTS_MAX 3
#include "sbpf.h"

/* What an account of this program holds. */
typedef struct LAYOUT {
    u64 tag;
    u8 bump;
    u64 total; /* off its natural alignment on purpose */
    Key owner;
} Tally;

#define TALLY_TAG ((u64)0x796c6c6174) /* "tally" */

enum {
    NOT_THE_OWNER = 6000,
    TOTAL_OVERFLOWS = 6001,
    WRONG_ADDRESS = 6002,
    NO_SUCH_INSTRUCTION = 6003,
};

typedef u64 (*Handler)(const Input *input, Reader *arguments);

u64 create(const Input *input, Reader *arguments);
u64 add(const Input *input, Reader *arguments);
u64 mix(const Input *input, Reader *arguments);

#endif
