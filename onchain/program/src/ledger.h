/* The ledger as it lies in its account, and what several instructions ask of it. */
#ifndef HYPER_LEDGER_H
#define HYPER_LEDGER_H

#define ACCOUNTS_MAX 24
#include "interface.h"
#include "sbpf.h"

#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)
#define SIZED(type, size) _Static_assert(sizeof(type) == (size), #type)

typedef struct LAYOUT {
    u64 epoch;
    Key root;
    Key data_hash;
    u64 total;
    u64 total_exitable;
    i64 published_at;
    i64 active_at;
    u32 leaf_count;
    u8 reserved[4];
} Root;

AT(Root, root, ROOT_ROOT);
AT(Root, data_hash, ROOT_DATA_HASH);
AT(Root, total, ROOT_TOTAL);
AT(Root, total_exitable, ROOT_TOTAL_EXITABLE);
AT(Root, published_at, ROOT_PUBLISHED_AT);
AT(Root, active_at, ROOT_ACTIVE_AT);
AT(Root, leaf_count, ROOT_LEAF_COUNT);
SIZED(Root, ROOT_SIZE);

typedef struct LAYOUT {
    u64 max_epoch_increase;
    u64 window_limit;
    u64 advance_cap;
    u64 wallet_advance_cap;
    u64 voucher_limit;
    u64 min_deposit;
    u32 min_epoch_interval;
    u32 slow_delay;
    u32 fast_delay;
    u32 window_secs;
    u32 exit_after;
    u32 config_delay;
} Limits;

AT(Limits, max_epoch_increase, LIMITS_MAX_EPOCH_INCREASE);
AT(Limits, window_limit, LIMITS_WINDOW_LIMIT);
AT(Limits, advance_cap, LIMITS_ADVANCE_CAP);
AT(Limits, wallet_advance_cap, LIMITS_WALLET_ADVANCE_CAP);
AT(Limits, voucher_limit, LIMITS_VOUCHER_LIMIT);
AT(Limits, min_deposit, LIMITS_MIN_DEPOSIT);
AT(Limits, min_epoch_interval, LIMITS_MIN_EPOCH_INTERVAL);
AT(Limits, slow_delay, LIMITS_SLOW_DELAY);
AT(Limits, fast_delay, LIMITS_FAST_DELAY);
AT(Limits, window_secs, LIMITS_WINDOW_SECS);
AT(Limits, exit_after, LIMITS_EXIT_AFTER);
AT(Limits, config_delay, LIMITS_CONFIG_DELAY);
SIZED(Limits, LIMITS_SIZE);

/* Who may do what. An argument of `initialize` too, in this order. */
typedef struct LAYOUT {
    Key admin;
    Key publisher;
    Key guardian;
    Key voucher_key;
} Roles;

/* The level of a breaker when it was last computed. */
typedef struct LAYOUT {
    u64 level;
    i64 updated_at;
} Flow;

/* The latest proposal. Without a kind there is none; number and due stay. */
typedef struct LAYOUT {
    u64 number;
    i64 due_at;
    Key key;
    u64 amount;
    Limits limits;
    u8 kind;
    u8 flags;
} Proposal;

/* Places in `paused_until`; a flag is the bit of its place. */
enum { PAUSE_DEPOSIT, PAUSE_CLAIM, PAUSE_PUBLISH, PAUSE_REDEEM, PAUSES };
#define FLAGS_ALL (FLAG_DEPOSIT | FLAG_CLAIM | FLAG_PUBLISH | FLAG_REDEEM)

typedef struct LAYOUT {
    u64 tag;
    Key base;
    Key cluster_tag;
    Key mint;
    Key vault;
    Key token_program;
    Roles roles;
    u64 total_deposited;
    u64 total_claimed;
    u64 total_exited;
    u64 total_withdrawn;
    u64 reserve;
    u64 advance;
    u64 last_epoch;
    Root active;
    Root previous;
    Root pending;
    u64 pending_min_slot;
    Limits limits;
    Flow flow;
    Flow voucher_flow;
    i64 paused_until[PAUSES];
    i64 claim_paused_at;
    i64 guardian_paused_at;
    Proposal proposal;
    u8 revocable;
    u8 approved;
    u8 bump;
    u8 version;
    u8 decimals;
    u8 padding;
    u32 key_epoch;
    u8 reserved[36];
} Ledger;

AT(Ledger, base, LEDGER_BASE);
AT(Ledger, cluster_tag, LEDGER_CLUSTER_TAG);
AT(Ledger, mint, LEDGER_MINT);
AT(Ledger, vault, LEDGER_VAULT);
AT(Ledger, token_program, LEDGER_TOKEN_PROGRAM);
AT(Ledger, roles.admin, LEDGER_ADMIN);
AT(Ledger, roles.publisher, LEDGER_PUBLISHER);
AT(Ledger, roles.guardian, LEDGER_GUARDIAN);
AT(Ledger, roles.voucher_key, LEDGER_VOUCHER_KEY);
AT(Ledger, total_deposited, LEDGER_TOTAL_DEPOSITED);
AT(Ledger, total_claimed, LEDGER_TOTAL_CLAIMED);
AT(Ledger, total_exited, LEDGER_TOTAL_EXITED);
AT(Ledger, total_withdrawn, LEDGER_TOTAL_WITHDRAWN);
AT(Ledger, reserve, LEDGER_RESERVE);
AT(Ledger, advance, LEDGER_ADVANCE);
AT(Ledger, last_epoch, LEDGER_LAST_EPOCH);
AT(Ledger, active, LEDGER_ACTIVE);
AT(Ledger, previous, LEDGER_PREVIOUS);
AT(Ledger, pending, LEDGER_PENDING);
AT(Ledger, pending_min_slot, LEDGER_PENDING_MIN_SLOT);
AT(Ledger, limits, LEDGER_LIMITS);
AT(Ledger, flow.level, LEDGER_FLOW_LEVEL);
AT(Ledger, flow.updated_at, LEDGER_FLOW_UPDATED_AT);
AT(Ledger, voucher_flow.level, LEDGER_VOUCHER_FLOW_LEVEL);
AT(Ledger, voucher_flow.updated_at, LEDGER_VOUCHER_FLOW_UPDATED_AT);
AT(Ledger, paused_until, LEDGER_PAUSED_UNTIL);
AT(Ledger, claim_paused_at, LEDGER_CLAIM_PAUSED_AT);
AT(Ledger, guardian_paused_at, LEDGER_GUARDIAN_PAUSED_AT);
AT(Ledger, proposal.number, LEDGER_PROPOSAL_NUMBER);
AT(Ledger, proposal.due_at, LEDGER_PROPOSAL_DUE_AT);
AT(Ledger, proposal.key, LEDGER_PROPOSAL_KEY);
AT(Ledger, proposal.amount, LEDGER_PROPOSAL_AMOUNT);
AT(Ledger, proposal.limits, LEDGER_PROPOSAL_LIMITS);
AT(Ledger, proposal.kind, LEDGER_PROPOSAL_KIND);
AT(Ledger, proposal.flags, LEDGER_PROPOSAL_FLAGS);
AT(Ledger, revocable, LEDGER_REVOCABLE);
AT(Ledger, approved, LEDGER_APPROVED);
AT(Ledger, bump, LEDGER_BUMP);
AT(Ledger, version, LEDGER_VERSION);
AT(Ledger, decimals, LEDGER_DECIMALS);
AT(Ledger, key_epoch, LEDGER_KEY_EPOCH);
SIZED(Ledger, LEDGER_SIZE);

/* One call of the program: what every instruction is given, checked as far as entry.c says. */
typedef struct {
    Input input;
    const u8 *args;                /* of the length that the instruction has */
    const Account *ledger_account; /* NULL in `initialize` */
    Ledger *ledger;                /* its bytes; NULL in `initialize` */
    i64 now;
    u64 slot;
} Call;

/* Accounts by name, laid over those of the input: entry.c has seen that there are enough. */
#define ACCOUNTS __attribute__((may_alias))
#define NAMED(type, count) _Static_assert(sizeof(type) == (count) * sizeof(Account), #type)

/* equal [< to <=]: either of two equal numbers. */
INLINE u64 least(u64 a, u64 b) { return a < b ? a : b; }
/* equal [> to >=]: the same. */
INLINE u64 most(u64 a, u64 b) { return a > b ? a : b; }
/* equal [< to <=]: the same. */
INLINE i64 sooner(i64 a, i64 b) { return a < b ? a : b; }
/* equal [> to >=]: the same. */
INLINE i64 later(i64 a, i64 b) { return a > b ? a : b; }

/* a − b, 0 where that is below zero. equal [> to >=]: a − a is 0. */
INLINE u64 above(u64 a, u64 b) { return a > b ? a - b : 0; }

/* Seconds from `start` to `end`, 0 where the clock went back. equal [> to >=]: as above. */
INLINE u64 seconds_between(i64 start, i64 end) { return end > start ? (u64)end - (u64)start : 0; }

/* The end of time, for pauses that somebody has to lift. */
#define NEVER INT64_MAX

INLINE i64 seconds_after(i64 start, u64 seconds) {
    i64 end;
    return __builtin_add_overflow(start, (i64)seconds, &end) ? NEVER : end;
}

INLINE bool is_paused(const Call *call, u64 pause) {
    return call->now < call->ledger->paused_until[pause];
}

/* Whether `promote` would activate the pending root. */
bool is_due(const Call *call);

/* Activate the pending root if it is due. */
void promote(const Call *call);

/* What the ledger owes to all: the vault holds it, and what is above it is nobody's. */
INLINE u64 owed_by(const Ledger *ledger) {
    return ledger->total_deposited - ledger->total_claimed - ledger->total_exited
        - ledger->total_withdrawn;
}

#endif
