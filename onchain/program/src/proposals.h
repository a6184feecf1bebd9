/* The pending proposal: is it there, is it due, and its end. */
#ifndef HYPER_PROPOSALS_H
#define HYPER_PROPOSALS_H

#include "ledger.h"

/* Its moment has come and has not passed. Errors: `NotDue`, `ProposalExpired`. */
u64 proposal_due(const Call *call);

/* The roles with that key in the place that the kind says. Error: `RoleConflict`. */
u64 proposed_roles(const Ledger *ledger, u8 kind, const Key *key, Roles *roles);

/* The proposal has taken effect: it is gone, and the log says so. */
void proposal_applied(Ledger *ledger);

#endif
