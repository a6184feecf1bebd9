/* What the administrator may choose. */
#include "limits.h"

u64 limits_ok(const Limits *limits) {
    u64 least_window = (u64)MIN_WINDOW_RATE * limits->window_secs;
    REQUIRE(limits->min_epoch_interval >= 1, ERR_BAD_LIMITS);
    REQUIRE(limits->min_epoch_interval <= MAX_EPOCH_INTERVAL, ERR_BAD_LIMITS);
    REQUIRE(limits->window_secs >= 1, ERR_BAD_LIMITS);
    REQUIRE(limits->window_secs <= MAX_WINDOW, ERR_BAD_LIMITS);
    REQUIRE(limits->window_limit >= least_window, ERR_BAD_LIMITS);
    REQUIRE(limits->voucher_limit == 0 || limits->voucher_limit >= least_window, ERR_BAD_LIMITS);
    REQUIRE(limits->fast_delay >= MIN_FAST_DELAY, ERR_BAD_LIMITS);
    REQUIRE(limits->fast_delay <= limits->slow_delay, ERR_BAD_LIMITS);
    REQUIRE(limits->slow_delay >= MIN_SLOW_DELAY, ERR_BAD_LIMITS);
    /* Else the first door of the exit would open between two punctual roots. */
    REQUIRE((u64)limits->slow_delay + limits->min_epoch_interval < limits->exit_after,
            ERR_BAD_LIMITS);
    REQUIRE(limits->exit_after <= MAX_EXIT_AFTER, ERR_BAD_LIMITS);
    REQUIRE(limits->config_delay >= MIN_CONFIG_DELAY, ERR_BAD_LIMITS);
    REQUIRE(limits->config_delay <= MAX_CONFIG_DELAY, ERR_BAD_LIMITS);
    REQUIRE(limits->min_deposit >= 1, ERR_BAD_LIMITS);
    return SUCCESS;
}

u64 limits_tighten(const Limits *before, const Limits *after) {
    REQUIRE(after->max_epoch_increase <= before->max_epoch_increase, ERR_NOT_TIGHTENING);
    REQUIRE(after->window_limit <= before->window_limit, ERR_NOT_TIGHTENING);
    REQUIRE(after->advance_cap <= before->advance_cap, ERR_NOT_TIGHTENING);
    REQUIRE(after->wallet_advance_cap <= before->wallet_advance_cap, ERR_NOT_TIGHTENING);
    REQUIRE(after->voucher_limit <= before->voucher_limit, ERR_NOT_TIGHTENING);
    REQUIRE(after->min_epoch_interval >= before->min_epoch_interval, ERR_NOT_TIGHTENING);
    REQUIRE(after->slow_delay >= before->slow_delay, ERR_NOT_TIGHTENING);
    REQUIRE(after->fast_delay >= before->fast_delay, ERR_NOT_TIGHTENING);
    REQUIRE(after->config_delay >= before->config_delay, ERR_NOT_TIGHTENING);
    /* Either direction of these would harm somebody: they go through a proposal. */
    REQUIRE(after->min_deposit == before->min_deposit, ERR_NOT_TIGHTENING);
    REQUIRE(after->window_secs == before->window_secs, ERR_NOT_TIGHTENING);
    REQUIRE(after->exit_after == before->exit_after, ERR_NOT_TIGHTENING);
    return SUCCESS;
}
