/* tighten_limits, void_vouchers: what the administrator may do at once, for it harms nobody. */
#include "events.h"
#include "handlers.h"
#include "limits.h"
#include "roles.h"

NAMED(AuthorityAndLedger, IX_TIGHTEN_LIMITS_ACCOUNTS);
NAMED(AuthorityAndLedger, IX_VOID_VOUCHERS_ACCOUNTS);
SIZED(Limits, IX_TIGHTEN_LIMITS_ARGS);
_Static_assert(IX_VOID_VOUCHERS_ARGS == sizeof(u32), "key_epoch");

u64 tighten_limits(const Call *call) {
    const AuthorityAndLedger *accounts = (const AuthorityAndLedger *)call->input.accounts;
    const Limits *limits = (const Limits *)call->args;
    Ledger *ledger = call->ledger;
    TRY(has_role(&accounts->authority, &ledger->roles.admin));
    TRY(limits_ok(limits));
    TRY(limits_tighten(&ledger->limits, limits));
    ledger->limits = *limits;

    LimitsTightened event = {EVENT_LIMITS_TIGHTENED, *limits};
    EMIT(event);
    return SUCCESS;
}

u64 void_vouchers(const Call *call) {
    const AuthorityAndLedger *accounts = (const AuthorityAndLedger *)call->input.accounts;
    u32 key_epoch = load_u32(call->args);
    Ledger *ledger = call->ledger;
    TRY(has_role(&accounts->authority, &ledger->roles.admin));
    REQUIRE(key_epoch != 0 && key_epoch - 1 == ledger->key_epoch, ERR_KEY_EPOCH_DECREASED);
    ledger->key_epoch = key_epoch;

    VouchersVoided event = {EVENT_VOUCHERS_VOIDED, key_epoch};
    EMIT(event);
    return SUCCESS;
}
