/* The instructions. What each takes and checks: docs/program.md, in the same order as here. */
#ifndef HYPER_HANDLERS_H
#define HYPER_HANDLERS_H

#include "ledger.h"

/* initialize.c, deposit.c */
u64 initialize(const Call *call);
u64 deposit(const Call *call);

/* roots.c */
u64 publish_root(const Call *call);
u64 approve_root(const Call *call);
u64 activate_root(const Call *call);
u64 cancel_root(const Call *call);
u64 revoke_root(const Call *call);

/* claims.c */
u64 claim(const Call *call);
u64 claim_to(const Call *call);
u64 cover(const Call *call);

/* vouchers.c */
u64 redeem(const Call *call);
u64 redeem_to(const Call *call);

/* exits.c; `exit` is the C library's */
u64 exit_credit(const Call *call);
u64 request_exit(const Call *call);
u64 cancel_exit(const Call *call);

/* pauses.c, tightening.c */
u64 set_paused(const Call *call);
u64 tighten_limits(const Call *call);
u64 void_vouchers(const Call *call);

/* proposals.c, application.c */
u64 propose_config(const Call *call);
u64 apply_config(const Call *call);
u64 accept_admin(const Call *call);
u64 sweep_excess(const Call *call);
u64 withdraw_reserve(const Call *call);
u64 cancel_config(const Call *call);

#endif
