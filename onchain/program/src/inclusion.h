/* Is a leaf in the tree of a root? */
#ifndef HYPER_INCLUSION_H
#define HYPER_INCLUSION_H

#include "ledger.h"

/* What a leaf says: lifetime earnings of a wallet, or the exitable credit of an owner. */
enum { LEAF_EARNINGS = 1, LEAF_EXIT = 2 };

/* Arguments of the instructions that bring a leaf. `amount` is the leaf's: lifetime or exitable. */
typedef struct LAYOUT {
    u64 epoch;
    u32 index;
    u64 amount;
    u32 proof_length;
    Key proof[]; /* entry.c has seen that all of them are there */
} Leaf;

SIZED(Leaf, IX_CLAIM_ARGS);
SIZED(Leaf, IX_COVER_ARGS);
SIZED(Leaf, IX_EXIT_ARGS);

INLINE const Leaf *leaf_of(const Call *call) { return (const Leaf *)call->args; }

/* The leaf of `whose` is at its place in the tree of `root`. Error: `InvalidProof`. */
u64 included(const Call *call, const Root *root, u8 kind, const Key *whose);

#endif
