/* What the program logs: hints for watchers. Order and width of the fields are the IDLs'. */
#ifndef HYPER_EVENTS_H
#define HYPER_EVENTS_H

#include "ledger.h"

typedef struct LAYOUT {
    u64 tag;
    u64 epoch;
    Key root;
    u64 total;
    i64 activates_at;
} RootPublished;

typedef struct LAYOUT {
    u64 tag;
    u64 epoch;
    Key root;
    i64 activates_at;
} RootApproved;

typedef struct LAYOUT {
    u64 tag;
    u64 epoch;
    Key root;
    u64 total;
} RootActivated;

typedef struct LAYOUT {
    u64 tag;
    u64 epoch;
    Key root;
} RootCancelled;

typedef struct LAYOUT {
    u64 tag;
    u64 epoch;
    Key root;
    u64 restored_epoch;
} RootRevoked;

typedef struct LAYOUT {
    u64 tag;
    Key owner;
    u64 amount;
    u64 deposited;
} Deposited;

typedef struct LAYOUT {
    u64 tag;
    Key wallet;
    u64 amount;
    u64 claimed;
    u64 covered;
    u64 epoch;
} Claimed;

typedef struct LAYOUT {
    u64 tag;
    Key wallet;
    u64 amount;
    u64 claimed;
    u64 advance;
} Redeemed;

typedef struct LAYOUT {
    u64 tag;
    Key owner;
    u64 amount;
    u64 exited;
} Exited;

typedef struct LAYOUT {
    u64 tag;
    Key owner;
    i64 requested_at;
} ExitAsked;

typedef struct LAYOUT {
    u64 tag;
    u8 flags;
    Key by;
} PausedSet;

typedef struct LAYOUT {
    u64 tag;
    Limits limits;
} LimitsTightened;

typedef struct LAYOUT {
    u64 tag;
    u32 key_epoch;
} VouchersVoided;

typedef struct LAYOUT {
    u64 tag;
    u64 number;
    u8 kind;
    i64 due_at;
} ConfigProposed;

/* ConfigApplied and ConfigCancelled. */
typedef struct LAYOUT {
    u64 tag;
    u64 number;
    u8 kind;
} ConfigSettled;

#define EMIT(event)                                     \
    do {                                                \
        Slice whole_event_ = {&(event), sizeof(event)}; \
        sol_log_data(&whole_event_, 1);                 \
    } while (0)

#endif
