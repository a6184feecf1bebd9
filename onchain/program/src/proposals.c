/* propose_config, cancel_config: what loosens takes a delay, in which it can be cancelled. */
#include "proposals.h"

#include "events.h"
#include "handlers.h"
#include "limits.h"
#include "roles.h"

NAMED(AuthorityAndLedger, IX_PROPOSE_CONFIG_ACCOUNTS);
NAMED(AuthorityAndLedger, IX_CANCEL_CONFIG_ACCOUNTS);

typedef struct LAYOUT {
    u8 kind;
    Key key;
    u64 amount;
    u8 flags;
    Limits limits;
} ProposeConfigArgs;
SIZED(ProposeConfigArgs, IX_PROPOSE_CONFIG_ARGS);
_Static_assert(IX_CANCEL_CONFIG_ARGS == sizeof(u64), "number");

static bool limits_are_zero(const Limits *limits) {
    const u8 *bytes = (const u8 *)limits;
    u64 any = 0;
    for (u64 at = 0; at < sizeof(Limits); at += sizeof(u64)) {
        any |= load_u64(bytes + at);
    }
    return any == 0;
}

#define BIT(kind) ((u64)1 << (kind))
/* Which kinds have which field. */
#define KINDS (BIT(PROPOSAL_LIMITS) | BIT(PROPOSAL_UNPAUSE) | KINDS_WITH_KEY)
#define KINDS_OF_ROLES                                                      \
    (BIT(PROPOSAL_PUBLISHER) | BIT(PROPOSAL_GUARDIAN) | BIT(PROPOSAL_ADMIN) \
     | BIT(PROPOSAL_VOUCHER))
#define KINDS_WITH_AMOUNT (BIT(PROPOSAL_SWEEP) | BIT(PROPOSAL_RESERVE))
#define KINDS_WITH_KEY (KINDS_OF_ROLES | KINDS_WITH_AMOUNT)

/* equal [< to <=]: kind 64 would be looked for as kind 0, which is none. */
INLINE bool is_of(u8 kind, u64 kinds) { return kind < 64 && (kinds >> kind & 1) != 0; }

/* The kind exists, and what it has not is zero. */
static u64 shape_ok(const ProposeConfigArgs *args) {
    u8 kind = args->kind;
    REQUIRE(is_of(kind, KINDS), ERR_BAD_ARGS);
    REQUIRE(is_of(kind, KINDS_WITH_KEY) || key_is_zero(&args->key), ERR_BAD_ARGS);
    REQUIRE(is_of(kind, KINDS_WITH_AMOUNT) || args->amount == 0, ERR_BAD_ARGS);
    REQUIRE(kind == PROPOSAL_UNPAUSE || args->flags == 0, ERR_BAD_ARGS);
    REQUIRE(kind == PROPOSAL_LIMITS || limits_are_zero(&args->limits), ERR_BAD_ARGS);
    return SUCCESS;
}

/* What the kind has is right. */
static u64 content_ok(const Ledger *ledger, const ProposeConfigArgs *args) {
    if (args->kind == PROPOSAL_LIMITS) {
        return limits_ok(&args->limits);
    }
    if (args->kind == PROPOSAL_UNPAUSE) {
        REQUIRE(args->flags >= 1, ERR_BAD_ARGS);
        REQUIRE(args->flags <= FLAGS_ALL, ERR_BAD_ARGS);
        return SUCCESS;
    }
    if (is_of(args->kind, KINDS_WITH_AMOUNT)) {
        REQUIRE(args->amount != 0, ERR_BAD_ARGS);
        REQUIRE(!key_is_zero(&args->key), ERR_BAD_ARGS);
        return SUCCESS;
    }
    Roles roles;
    return proposed_roles(ledger, args->kind, &args->key, &roles);
}

u64 proposed_roles(const Ledger *ledger, u8 kind, const Key *key, Roles *roles) {
    *roles = ledger->roles;
    if (kind == PROPOSAL_PUBLISHER) {
        roles->publisher = *key;
    } else if (kind == PROPOSAL_GUARDIAN) {
        roles->guardian = *key;
    } else if (kind == PROPOSAL_ADMIN) {
        roles->admin = *key;
    } else {
        roles->voucher_key = *key;
    }
    return roles_ok(roles);
}

static bool is_expired(const Call *call) {
    return call->now > seconds_after(call->ledger->proposal.due_at, PROPOSAL_LIFE);
}

u64 proposal_due(const Call *call) {
    REQUIRE(call->now >= call->ledger->proposal.due_at, ERR_NOT_DUE);
    REQUIRE(!is_expired(call), ERR_PROPOSAL_EXPIRED);
    return SUCCESS;
}

/* The end of a proposal: all its fields but number and due are zero. */
static void settle(Ledger *ledger, u64 event_tag) {
    Proposal *proposal = &ledger->proposal;
    ConfigSettled event = {event_tag, proposal->number, proposal->kind};
    proposal->key = (Key){{0}};
    proposal->amount = 0;
    proposal->limits = (Limits){0};
    proposal->kind = 0;
    proposal->flags = 0;
    EMIT(event);
}

void proposal_applied(Ledger *ledger) { settle(ledger, EVENT_CONFIG_APPLIED); }

u64 propose_config(const Call *call) {
    const AuthorityAndLedger *accounts = (const AuthorityAndLedger *)call->input.accounts;
    const ProposeConfigArgs *args = (const ProposeConfigArgs *)call->args;
    Ledger *ledger = call->ledger;
    Proposal *proposal = &ledger->proposal;
    u64 delay = ledger->limits.config_delay;
    TRY(has_role(&accounts->authority, &ledger->roles.admin));
    TRY(shape_ok(args));
    TRY(content_ok(ledger, args));
    REQUIRE(proposal->kind == 0 || is_expired(call), ERR_PROPOSAL_PENDING);
    if (args->kind == PROPOSAL_GUARDIAN) {
        delay = most(delay, GUARDIAN_DELAY);
    }
    proposal->number += 1;
    proposal->due_at = seconds_after(call->now, delay);
    proposal->key = args->key;
    proposal->amount = args->amount;
    proposal->limits = args->limits;
    proposal->kind = args->kind;
    proposal->flags = args->flags;

    ConfigProposed event = {
        EVENT_CONFIG_PROPOSED, proposal->number, proposal->kind, proposal->due_at};
    EMIT(event);
    return SUCCESS;
}

u64 cancel_config(const Call *call) {
    const AuthorityAndLedger *accounts = (const AuthorityAndLedger *)call->input.accounts;
    const Account *authority = &accounts->authority;
    u64 number = load_u64(call->args);
    Ledger *ledger = call->ledger;
    TRY(has_either_role(authority, &ledger->roles.admin, &ledger->roles.guardian));
    REQUIRE(ledger->proposal.kind != 0, ERR_NO_PROPOSAL);
    REQUIRE(ledger->proposal.number == number, ERR_NO_PROPOSAL);
    REQUIRE(ledger->proposal.kind != PROPOSAL_GUARDIAN
                || key_equal(authority->key, &ledger->roles.admin),
            ERR_UNAUTHORIZED);
    settle(ledger, EVENT_CONFIG_CANCELLED);
    return SUCCESS;
}
