/* redeem, redeem_to: a voucher pays what no root holds yet, from the operator's reserve. */
#include "breaker.h"
#include "events.h"
#include "handlers.h"
#include "payments.h"
#include "programs.h"
#include "tokens.h"

typedef struct ACCOUNTS {
    Payment payment;
    Account instructions_sysvar;
} Redeem;
NAMED(Redeem, IX_REDEEM_ACCOUNTS);
NAMED(Redeem, IX_REDEEM_TO_ACCOUNTS);

typedef struct LAYOUT {
    u64 cumulative;
    i64 expires_at;
} RedeemArgs;
SIZED(RedeemArgs, IX_REDEEM_ARGS);
SIZED(RedeemArgs, IX_REDEEM_TO_ARGS);

/* What the voucher key signs. */
typedef struct LAYOUT {
    u8 title[16];
    Key program;
    Key ledger;
    Key cluster_tag;
    Key wallet;
    u64 cumulative;
    i64 expires_at;
    u32 key_epoch;
} Voucher;
SIZED(Voucher, 164);

/* The data of the Ed25519 program's instruction that has checked a voucher. */
typedef struct LAYOUT {
    u8 header[16];
    Key key;
    u8 signature[64];
    Voucher voucher;
} Ed25519Check;
AT(Ed25519Check, key, 16);
AT(Ed25519Check, voucher, 112);
SIZED(Ed25519Check, 276);

/* An instruction without accounts, as the Instructions sysvar lists it. */
typedef struct LAYOUT {
    u16 account_count;
    Key program;
    u16 data_len;
    Ed25519Check check;
} CheckInstruction;
SIZED(CheckInstruction, 312);

/* One signature, no padding; signature, key and message lie in this same instruction, where
 * `Ed25519Check` has them. Any other header could have checked something else. */
static const u8 HEADER[16] = {0x01, 0x00, 0x30, 0x00, 0xff, 0xff, 0x10, 0x00,
                              0xff, 0xff, 0x70, 0x00, 0xa4, 0x00, 0xff, 0xff};
static const u8 TITLE[16] = {0xff, 'h', 'y', 'p', 'e', 'r', '-', 'v',
                             'o',  'u', 'c', 'h', 'e', 'r', '-', '1'};

INLINE bool sixteen_equal(const u8 *a, const u8 *b) {
    return load_u64(a) == load_u64(b) && load_u64(a + 8) == load_u64(b + 8);
}

/* The instruction just before this one, as far as a check of a voucher reaches. The sysvar holds
 * a count, as many offsets (u16 each), the instructions, and last the number of the current one. */
static u64 instruction_before(const Account *sysvar, const CheckInstruction **before) {
    const u8 *data = sysvar->data;
    u64 len = sysvar->data_len;
    REQUIRE(key_equal(sysvar->key, &INSTRUCTIONS_SYSVAR), ERR_BAD_VOUCHER);
    /* equal [REQUIRE off, >= to >]: the runtime's own list is whole. */
    REQUIRE(len >= sizeof(u16), ERR_BAD_VOUCHER);
    /* Offsets are of 16 bits: cut, one could lead to bytes that nobody has checked. */
    REQUIRE(len <= UINT16_MAX, ERR_BAD_VOUCHER);
    u64 current = load_u16(data + len - sizeof(u16));
    /* equal [REQUIRE off]: the list's offsets would be read, which rise and spell no program. */
    REQUIRE(current >= 1, ERR_BAD_VOUCHER);

    u64 offset_at = sizeof(u16) + sizeof(u16) * (current - 1);
    /* equal [REQUIRE off, <= to <, + to -]: the runtime's own list is whole. */
    REQUIRE(offset_at + sizeof(u16) <= len, ERR_BAD_VOUCHER);
    u64 offset = load_u16(data + offset_at);
    /* equal [REQUIRE off, <= to <]: a check is followed by ours. What is shorter is none. */
    REQUIRE(offset + sizeof(CheckInstruction) <= len, ERR_BAD_VOUCHER);
    *before = (const CheckInstruction *)(data + offset);
    return SUCCESS;
}

/* The instruction before has checked exactly this voucher. */
static u64 voucher_ok(const Call *call, const Redeem *accounts) {
    const Ledger *ledger = call->ledger;
    const RedeemArgs *args = (const RedeemArgs *)call->args;
    const CheckInstruction *before;
    TRY(instruction_before(&accounts->instructions_sysvar, &before));
    const Ed25519Check *check = &before->check;
    const Voucher *voucher = &check->voucher;
    /* equal [REQUIRE off]: an account shifts what follows, so that the program read below would
     * be its flags and address: of a key that had to sign, and that nobody has. */
    REQUIRE(before->account_count == 0, ERR_BAD_VOUCHER);
    REQUIRE(key_equal(&before->program, &ED25519_CHECK), ERR_BAD_VOUCHER);
    REQUIRE(before->data_len == sizeof(Ed25519Check), ERR_BAD_VOUCHER);
    REQUIRE(sixteen_equal(check->header, HEADER), ERR_BAD_VOUCHER);
    REQUIRE(key_equal(&check->key, &ledger->roles.voucher_key), ERR_BAD_VOUCHER);
    REQUIRE(sixteen_equal(voucher->title, TITLE), ERR_BAD_VOUCHER);
    REQUIRE(key_equal(&voucher->program, call->input.program), ERR_BAD_VOUCHER);
    REQUIRE(key_equal(&voucher->ledger, call->ledger_account->key), ERR_BAD_VOUCHER);
    REQUIRE(key_equal(&voucher->cluster_tag, &ledger->cluster_tag), ERR_BAD_VOUCHER);
    REQUIRE(key_equal(&voucher->wallet, accounts->payment.wallet.key), ERR_BAD_VOUCHER);
    REQUIRE(voucher->cumulative == args->cumulative, ERR_BAD_VOUCHER);
    REQUIRE(voucher->expires_at == args->expires_at, ERR_BAD_VOUCHER);
    REQUIRE(voucher->key_epoch == ledger->key_epoch, ERR_BAD_VOUCHER);
    return SUCCESS;
}

/* What the wallet's proven leaf leaves unpaid, and what may be advanced beyond it. */
static u64 advanceable(const Ledger *ledger, const ClaimRecord *record, u64 *amount) {
    const Limits *limits = &ledger->limits;
    u64 advanced = above(record->claimed, record->covered);
    u64 room = least(above(least(limits->advance_cap, ledger->reserve), ledger->advance),
                     above(limits->wallet_advance_cap, advanced));
    if (__builtin_add_overflow(above(record->covered, record->claimed), room, amount)) {
        *amount = UINT64_MAX;
    }
    REQUIRE(*amount != 0, ERR_ADVANCE_EXHAUSTED);
    return SUCCESS;
}

static u64 payable(const Call *call, const ClaimRecord *record, u64 *amount) {
    Ledger *ledger = call->ledger;
    u64 cumulative = ((const RedeemArgs *)call->args)->cumulative;
    u64 advance;
    u64 headroom;
    REQUIRE(cumulative > record->claimed, ERR_NOTHING_TO_CLAIM);
    TRY(advanceable(ledger, record, &advance));
    TRY(headroom_of(call, &ledger->voucher_flow, ledger->limits.voucher_limit, &headroom));
    *amount = least(least(cumulative - record->claimed, advance), headroom);
    take_headroom(&ledger->voucher_flow, *amount);
    return SUCCESS;
}

static u64 redeem_into(const Call *call, Destination destination) {
    const Redeem *accounts = (const Redeem *)call->input.accounts;
    const Payment *payment = &accounts->payment;
    const Key *wallet = payment->wallet.key;
    Ledger *ledger = call->ledger;
    REQUIRE(!key_is_zero(&ledger->roles.voucher_key), ERR_VOUCHERS_OFF);
    REQUIRE(!is_paused(call, PAUSE_REDEEM), ERR_PAUSED);
    REQUIRE(call->now <= ((const RedeemArgs *)call->args)->expires_at, ERR_VOUCHER_EXPIRED);
    TRY(payment_signed(payment, destination));
    TRY(token_accounts(ledger, &payment->vault, &payment->mint, &payment->token_program));
    TRY(voucher_ok(call, accounts));

    ClaimRecord *record;
    u64 amount;
    TRY(open_claim_record(call, &payment->claim_record, wallet, &payment->payer, &record));
    TRY(payable(call, record, &amount));
    TRY(book_payment(ledger, record, amount, record->covered));
    TRY(destination_ok(ledger, payment, record, destination));
    /* equal [TRY off]: a call that fails ends the transaction. */
    TRY(pay(call, &payment->vault, &payment->mint, &payment->destination, amount));

    Redeemed event = {EVENT_REDEEMED, *wallet, amount, record->claimed, ledger->advance};
    EMIT(event);
    return SUCCESS;
}

u64 redeem(const Call *call) { return redeem_into(call, TO_OWN_ACCOUNT); }

u64 redeem_to(const Call *call) { return redeem_into(call, TO_ANY_ACCOUNT); }
