/* apply_config, accept_admin, sweep_excess, withdraw_reserve: a due proposal takes effect. */
#include "handlers.h"
#include "limits.h"
#include "proposals.h"
#include "roles.h"
#include "tokens.h"

_Static_assert(IX_APPLY_CONFIG_ACCOUNTS == 1, "the ledger");

NAMED(AuthorityAndLedger, IX_ACCEPT_ADMIN_ACCOUNTS);

typedef struct ACCOUNTS {
    Account ledger;
    Account vault;
    Account destination;
    Account mint;
    Account token_program;
} Payout;
NAMED(Payout, IX_SWEEP_EXCESS_ACCOUNTS);
NAMED(Payout, IX_WITHDRAW_RESERVE_ACCOUNTS);

static u64 apply_limits(Ledger *ledger) {
    TRY(limits_ok(&ledger->proposal.limits));
    ledger->limits = ledger->proposal.limits;
    return SUCCESS;
}

static u64 apply_role(Ledger *ledger) {
    const Proposal *proposal = &ledger->proposal;
    Roles roles;
    TRY(proposed_roles(ledger, proposal->kind, &proposal->key, &roles));
    ledger->roles = roles;
    return SUCCESS;
}

static u64 apply_voucher_key(Ledger *ledger) {
    TRY(apply_role(ledger));
    REQUIRE(ledger->key_epoch != UINT32_MAX, ERR_OVERFLOW);
    ledger->key_epoch += 1;
    return SUCCESS;
}

static u64 apply_unpause(const Call *call) {
    Ledger *ledger = call->ledger;
    /* equal [< to <=]: no flag above the fourth is ever proposed. */
    for (u64 pause = 0; pause < PAUSES; pause++) {
        if ((ledger->proposal.flags >> pause & 1) != 0) {
            ledger->paused_until[pause] = sooner(ledger->paused_until[pause], call->now);
        }
    }
    return SUCCESS;
}

static u64 apply(const Call *call) {
    switch (call->ledger->proposal.kind) {
    case PROPOSAL_LIMITS: return apply_limits(call->ledger);
    case PROPOSAL_VOUCHER: return apply_voucher_key(call->ledger);
    case PROPOSAL_UNPAUSE: return apply_unpause(call);
    default: return apply_role(call->ledger); /* publisher or guardian */
    }
}

u64 apply_config(const Call *call) {
    u8 kind = call->ledger->proposal.kind;
    REQUIRE(kind >= PROPOSAL_LIMITS && kind <= PROPOSAL_UNPAUSE, ERR_NO_PROPOSAL);
    TRY(proposal_due(call));
    TRY(apply(call));
    proposal_applied(call->ledger);
    return SUCCESS;
}

u64 accept_admin(const Call *call) {
    const AuthorityAndLedger *accounts = (const AuthorityAndLedger *)call->input.accounts;
    Ledger *ledger = call->ledger;
    REQUIRE(ledger->proposal.kind == PROPOSAL_ADMIN, ERR_NO_PROPOSAL);
    TRY(has_role(&accounts->authority, &ledger->proposal.key));
    TRY(proposal_due(call));
    TRY(apply_role(ledger));
    proposal_applied(ledger);
    return SUCCESS;
}

/* Whom and how much the proposal says, out of the vault. */
static u64 pay_proposal(const Call *call, const Payout *accounts) {
    Ledger *ledger = call->ledger;
    const Account *destination = &accounts->destination;
    u8 bump = 0;
    TRY(own_account(ledger, destination, &ledger->proposal.key, &bump));
    /* equal [TRY off]: a call that fails ends the transaction. */
    TRY(pay(call, &accounts->vault, &accounts->mint, destination, ledger->proposal.amount));
    proposal_applied(ledger);
    return SUCCESS;
}

u64 sweep_excess(const Call *call) {
    const Payout *accounts = (const Payout *)call->input.accounts;
    const Ledger *ledger = call->ledger;
    REQUIRE(ledger->proposal.kind == PROPOSAL_SWEEP, ERR_NO_PROPOSAL);
    TRY(proposal_due(call));
    TRY(token_accounts(ledger, &accounts->vault, &accounts->mint, &accounts->token_program));
    u64 excess = above(token_bytes(&accounts->vault)->amount, owed_by(ledger));
    REQUIRE(ledger->proposal.amount <= excess, ERR_NOT_EXCESS); /* an amount is never 0 */
    return pay_proposal(call, accounts);
}

u64 withdraw_reserve(const Call *call) {
    const Payout *accounts = (const Payout *)call->input.accounts;
    Ledger *ledger = call->ledger;
    u64 amount = ledger->proposal.amount;
    REQUIRE(ledger->proposal.kind == PROPOSAL_RESERVE, ERR_NO_PROPOSAL);
    TRY(proposal_due(call));
    TRY(token_accounts(ledger, &accounts->vault, &accounts->mint, &accounts->token_program));
    REQUIRE(amount <= above(ledger->reserve, ledger->advance), ERR_RESERVE_IN_USE);
    ledger->reserve -= amount;
    ledger->total_withdrawn += amount;
    return pay_proposal(call, accounts);
}
