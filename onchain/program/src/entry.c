/* The program's door: the table of instructions, and what each of them is checked for first. */
#include "handlers.h"

typedef struct {
    u64 tag;
    u64 (*run)(const Call *call);
    u64 args;     /* bytes of the arguments, of a proof only its count */
    u64 accounts; /* at least so many */
    u8 ledger_at; /* which of them is the ledger */
    bool has_proof;
} Entry;

/* In `initialize` the ledger does not exist yet. */
#define NO_LEDGER 0xff

#define ENTRY(NAME, handler, ledger_at) \
    {IX_##NAME, handler, IX_##NAME##_ARGS, IX_##NAME##_ACCOUNTS, ledger_at, false}
#define ENTRY_WITH_PROOF(NAME, handler, ledger_at) \
    {IX_##NAME, handler, IX_##NAME##_ARGS, IX_##NAME##_ACCOUNTS, ledger_at, true}

/* Searched from the top: what is called most stands first. */
static const Entry ENTRIES[] = {
    ENTRY_WITH_PROOF(CLAIM, claim, 2),
    ENTRY(DEPOSIT, deposit, 3),
    ENTRY_WITH_PROOF(CLAIM_TO, claim_to, 2),
    ENTRY_WITH_PROOF(COVER, cover, 1),
    ENTRY(REDEEM, redeem, 2),
    ENTRY(REDEEM_TO, redeem_to, 2),
    ENTRY_WITH_PROOF(EXIT, exit_credit, 1),
    ENTRY(REQUEST_EXIT, request_exit, 1),
    ENTRY(CANCEL_EXIT, cancel_exit, 1),
    ENTRY(PUBLISH_ROOT, publish_root, 1),
    ENTRY(APPROVE_ROOT, approve_root, 1),
    ENTRY(ACTIVATE_ROOT, activate_root, 0),
    ENTRY(CANCEL_ROOT, cancel_root, 1),
    ENTRY(REVOKE_ROOT, revoke_root, 1),
    ENTRY(SET_PAUSED, set_paused, 1),
    ENTRY(TIGHTEN_LIMITS, tighten_limits, 1),
    ENTRY(VOID_VOUCHERS, void_vouchers, 1),
    ENTRY(PROPOSE_CONFIG, propose_config, 1),
    ENTRY(APPLY_CONFIG, apply_config, 0),
    ENTRY(ACCEPT_ADMIN, accept_admin, 1),
    ENTRY(SWEEP_EXCESS, sweep_excess, 0),
    ENTRY(WITHDRAW_RESERVE, withdraw_reserve, 0),
    ENTRY(CANCEL_CONFIG, cancel_config, 1),
    ENTRY(INITIALIZE, initialize, NO_LEDGER),
};
#define ENTRY_COUNT (sizeof ENTRIES / sizeof *ENTRIES)

static const Entry *entry_of(u64 tag) {
    /* Unrolled, it would become a search tree of a kilobyte. */
#pragma clang loop unroll(disable)
    for (u64 i = 0; i < ENTRY_COUNT; i++) {
        if (ENTRIES[i].tag == tag) {
            return &ENTRIES[i];
        }
    }
    return NULL;
}

/* The arguments have exactly the length of the instruction's, its proof included. */
static u64 args_ok(const Entry *entry, const u8 *args, u64 len) {
    u64 want = entry->args;
    if (entry->has_proof) {
        /* equal [REQUIRE off]: what is read beyond the arguments only makes `want` larger. */
        REQUIRE(len >= want, ERR_BAD_ARGS);
        u64 proof_length = load_u32(args + want - sizeof(u32));
        REQUIRE(proof_length <= MAX_PROOF, ERR_BAD_ARGS);
        want += proof_length * sizeof(Key);
    }
    REQUIRE(len == want, ERR_BAD_ARGS);
    return SUCCESS;
}

static u64 find_ledger(Call *call, u8 ledger_at) {
    const Account *account = &call->input.accounts[ledger_at];
    REQUIRE(key_equal(account->owner, call->input.program), ERR_INVALID_LEDGER);
    REQUIRE(account->data_len == sizeof(Ledger), ERR_INVALID_LEDGER);
    call->ledger_account = account;
    call->ledger = (Ledger *)account->data;
    REQUIRE(call->ledger->tag == LEDGER_TAG, ERR_INVALID_LEDGER);
    return SUCCESS;
}

static u64 read_clock(Call *call) {
    Clock clock;
    /* equal [TRY off]: fails for pointers out of bounds only. */
    TRY(sol_get_clock_sysvar(&clock));
    call->now = clock.unix_timestamp;
    call->slot = clock.slot;
    return SUCCESS;
}

u64 entrypoint(u8 *raw);

u64 entrypoint(u8 *raw) {
    Call call;
    const Input *input = &call.input;
    REQUIRE(load_u64(raw) <= ACCOUNTS_MAX, ERR_ACCOUNT_COUNT);
    /* equal [TRY off]: the runtime gives a well-formed input, and its count was looked at. */
    TRY(read_input(raw, &call.input));
    REQUIRE(input->data_len >= sizeof(u64), ERR_BAD_ARGS);
    const Entry *entry = entry_of(load_u64(input->data));
    REQUIRE(entry != NULL, ERR_UNKNOWN_INSTRUCTION);
    REQUIRE(input->account_count >= entry->accounts, ERR_ACCOUNT_COUNT);
    call.args = input->data + sizeof(u64);
    TRY(args_ok(entry, call.args, input->data_len - sizeof(u64)));

    /* equal [statement off]: `initialize` looks at neither. */
    call.ledger_account = NULL;
    /* equal [statement off]: the same. */
    call.ledger = NULL;
    if (entry->ledger_at != NO_LEDGER) {
        TRY(find_ledger(&call, entry->ledger_at));
    }
    /* equal [TRY off]: fails for pointers out of bounds only. */
    TRY(read_clock(&call));
    return entry->run(&call);
}
