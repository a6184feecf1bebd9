/* Addresses made of three seeds: records, and associated token accounts. */
#ifndef HYPER_ADDRESSES_H
#define HYPER_ADDRESSES_H

#include "ledger.h"

/* Three seeds, the bump, and what else is hashed. The first four parts sign for the address. */
typedef struct {
    Slice parts[6];
    u8 bump;
} Derived;

/* Lay out the seeds of an address of `program`; parts 0 to 2 are the caller's to fill. */
INLINE void begin_address(Derived *derived, const Key *program) {
    static const char MARKER[] = "ProgramDerivedAddress";
    derived->parts[3] = (Slice){&derived->bump, 1};
    derived->parts[4] = (Slice){program, sizeof(Key)};
    derived->parts[5] = (Slice){MARKER, sizeof MARKER - 1};
}

INLINE Slice key_slice(const Key *key) { return (Slice){key, sizeof(Key)}; }

/* The address that this bump gives: the hash that sol_create_program_address takes too, which then
 * asks, at a price, whether the address could be somebody's public key. The callers need not ask:
 * the bump was found by `find_address` before, or the account at the address belongs to this
 * program, which alone can have made it. */
INLINE u64 address_at_bump(Derived *derived, u8 bump, Key *address) {
    derived->bump = bump;
    return sol_sha256(derived->parts, 6, address->bytes);
}

/* The canonical address; its bump is left in `derived`. */
INLINE u64 find_address(Derived *derived, Key *address) {
    return sol_try_find_program_address(derived->parts, 3, derived->parts[4].start, address,
                                        &derived->bump);
}

#endif
