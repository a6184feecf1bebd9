/* Inclusion in a tree of RFC 6962, checked by index and count of leaves as in RFC 9162 2.1.3.2. */
#include "inclusion.h"

static u64 leaf_hash(const Call *call, u8 kind, const Key *whose, Key *hash) {
    u8 prefix[2] = {0x00, kind};
    Slice parts[4] = {
        {prefix, sizeof prefix},
        {call->ledger_account->key, sizeof(Key)},
        {whose, sizeof(Key)},
        {&leaf_of(call)->amount, sizeof(u64)},
    };
    return sol_sha256(parts, 4, hash->bytes);
}

u64 included(const Call *call, const Root *root, u8 kind, const Key *whose) {
    const Leaf *leaf = leaf_of(call);
    u64 length = leaf->proof_length;
    /* Place of the node that `hash` is, and of the last node, on the level reached so far. */
    u64 place = leaf->index;
    u64 last = (u64)root->leaf_count - 1;
    REQUIRE(place < root->leaf_count, ERR_INVALID_PROOF);

    Key hash;
    /* equal [TRY off]: fails for pointers out of bounds only. */
    TRY(leaf_hash(call, kind, whose, &hash));
    static const u8 NODE_PREFIX = 0x01;
    Slice node[3] = {{&NODE_PREFIX, 1}, {NULL, sizeof(Key)}, {NULL, sizeof(Key)}};
    for (u64 i = 0; i < length; i++) {
        const Key *sibling = &leaf->proof[i];
        REQUIRE(last != 0, ERR_INVALID_PROOF);
        if ((place & 1) != 0 || place == last) {
            node[1].start = sibling;
            node[2].start = &hash;
            /* A node without a sibling was promoted: go up to where it has one. */
            while ((place & 1) == 0 && place != 0) {
                place >>= 1;
                last >>= 1;
            }
        } else {
            node[1].start = &hash;
            node[2].start = sibling;
        }
        /* equal [TRY off]: fails for pointers out of bounds only. */
        TRY(sol_sha256(node, 3, hash.bytes));
        place >>= 1;
        last >>= 1;
    }
    REQUIRE(last == 0, ERR_INVALID_PROOF);
    REQUIRE(key_equal(&hash, &root->root), ERR_INVALID_PROOF);
    return SUCCESS;
}
