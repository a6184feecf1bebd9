/* Who signs, and who may. */
#ifndef HYPER_ROLES_H
#define HYPER_ROLES_H

#include "ledger.h"

/* Accounts of most instructions that a role gives. */
typedef struct ACCOUNTS {
    Account authority;
    Account ledger;
} AuthorityAndLedger;

/* Error: `MissingSigner`. */
u64 signed_by(const Account *account);

/* `account` signs and is `role`. Errors: `MissingSigner`, `Unauthorized`. */
u64 has_role(const Account *account, const Key *role);

/* The same of one of two roles. */
u64 has_either_role(const Account *account, const Key *role, const Key *other);

/* No role is zero, no two are the same; vouchers may be off. Error: `RoleConflict`. */
u64 roles_ok(const Roles *roles);

#endif
