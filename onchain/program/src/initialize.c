/* initialize: a new ledger. */
#include "addresses.h"
#include "creation.h"
#include "handlers.h"
#include "limits.h"
#include "programs.h"
#include "roles.h"
#include "tokens.h"

typedef struct ACCOUNTS {
    Account payer;
    Account base;
    Account ledger;
    Account mint;
    Account vault;
    Account token_program;
    Account system_program;
} Initialize;
NAMED(Initialize, IX_INITIALIZE_ACCOUNTS);

typedef struct LAYOUT {
    Key cluster_tag;
    Roles roles;
    Limits limits;
} InitializeArgs;
SIZED(InitializeArgs, IX_INITIALIZE_ARGS);

/* A mint of SPL Token, and the beginning of one of Token-2022. Source: their `state.rs`. */
typedef struct LAYOUT {
    u32 has_mint_authority;
    Key mint_authority;
    u64 supply;
    u8 decimals;
    u8 is_initialized;
    u32 has_freeze_authority;
    Key freeze_authority;
} Mint;
AT(Mint, decimals, 44);
AT(Mint, is_initialized, 45);
AT(Mint, has_freeze_authority, 46);
SIZED(Mint, 82);

/* Token-2022: after a mint with extensions comes its kind, then the extensions. */
enum { KIND_AT = 165, KIND_MINT = 1, EXTENSIONS_AT = 166 };
enum { EXTENSIONS_END = 0, METADATA_POINTER = 18, TOKEN_METADATA = 19 };

/* (type u16, length u16, data) one after the other, up to the end or to type 0. */
static u64 extensions_ok(const Account *mint) {
    const u8 *data = mint->data;
    u64 at = EXTENSIONS_AT;
    while (at < mint->data_len) {
        REQUIRE(mint->data_len - at >= 2, ERR_MINT_EXTENSION);
        u64 type = load_u16(data + at);
        if (type == EXTENSIONS_END) {
            return SUCCESS;
        }
        REQUIRE(type == METADATA_POINTER || type == TOKEN_METADATA, ERR_MINT_EXTENSION);
        REQUIRE(mint->data_len - at >= 4, ERR_MINT_EXTENSION);
        u64 length = load_u16(data + at + 2);
        REQUIRE(mint->data_len - at - 4 >= length, ERR_MINT_EXTENSION);
        at += 4 + length;
    }
    return SUCCESS;
}

static u64 mint_ok(const Account *account, const Key *token_program) {
    const Mint *mint = (const Mint *)account->data;
    REQUIRE(key_equal(account->owner, token_program), ERR_WRONG_MINT);
    REQUIRE(account->data_len >= sizeof(Mint), ERR_WRONG_MINT);
    bool is_extended = account->data_len > sizeof(Mint);
    REQUIRE(!is_extended || key_equal(token_program, &TOKEN_2022), ERR_WRONG_MINT);
    REQUIRE(mint->is_initialized == 1, ERR_WRONG_MINT);
    REQUIRE(mint->has_freeze_authority == 0, ERR_MINT_FREEZABLE);
    if (is_extended) {
        /* equal [REQUIRE off]: behind shorter data the runtime keeps zeros, which are no kind. */
        REQUIRE(account->data_len >= EXTENSIONS_AT, ERR_WRONG_MINT);
        REQUIRE(account->data[KIND_AT] == KIND_MINT, ERR_WRONG_MINT);
        TRY(extensions_ok(account));
    }
    return SUCCESS;
}

static u64 create_ledger(const Call *call, const Initialize *accounts, u8 *bump) {
    static const char SEED[] = "ledger";
    const Account *account = &accounts->ledger;
    Slice seeds[3] = {{SEED, sizeof SEED - 1}, key_slice(accounts->base.key), {bump, 1}};
    Key address;
    /* equal [TRY off]: seeds without any address are not to be found. */
    TRY(sol_try_find_program_address(seeds, 2, call->input.program, &address, bump));
    REQUIRE(key_equal(account->key, &address), ERR_INVALID_LEDGER);
    REQUIRE(key_equal(account->owner, &SYSTEM_PROGRAM), ERR_ALREADY_INITIALIZED);

    Creation creation = {&accounts->payer, account, sizeof(Ledger), {seeds, 3}};
    return create_account(&call->input, &creation);
}

static void fill(const Call *call, const Initialize *accounts, Ledger *ledger) {
    const InitializeArgs *args = (const InitializeArgs *)call->args;
    ledger->tag = LEDGER_TAG;
    ledger->base = *accounts->base.key;
    ledger->cluster_tag = args->cluster_tag;
    ledger->mint = *accounts->mint.key;
    ledger->vault = *accounts->vault.key;
    ledger->token_program = *accounts->token_program.key;
    ledger->roles = args->roles;
    ledger->limits = args->limits;
    ledger->active.active_at = call->now;
    ledger->flow.updated_at = call->now;
    ledger->voucher_flow.updated_at = call->now;
    ledger->version = 1;
    ledger->decimals = ((const Mint *)accounts->mint.data)->decimals;
}

static u64 vault_ok(const Ledger *ledger, const Initialize *accounts) {
    const Account *vault = &accounts->vault;
    u8 bump = 0;
    Key address;
    /* equal [TRY off]: seeds without any address are not to be found. */
    TRY(associated_account(ledger, accounts->ledger.key, &bump, &address));
    REQUIRE(key_equal(vault->key, &address), ERR_WRONG_VAULT);
    TRY(token_account_of(ledger, vault, accounts->ledger.key));
    REQUIRE(token_bytes(vault)->has_delegate == 0, ERR_INVALID_TOKEN_ACCOUNT);
    REQUIRE(token_bytes(vault)->has_close_authority == 0, ERR_INVALID_TOKEN_ACCOUNT);
    return SUCCESS;
}

u64 initialize(const Call *call) {
    const Initialize *accounts = (const Initialize *)call->input.accounts;
    const InitializeArgs *args = (const InitializeArgs *)call->args;
    const Key *token_program = accounts->token_program.key;
    TRY(signed_by(&accounts->payer));
    TRY(signed_by(&accounts->base));
    REQUIRE(key_equal(token_program, &SPL_TOKEN) || key_equal(token_program, &TOKEN_2022),
            ERR_WRONG_TOKEN_PROGRAM);
    TRY(mint_ok(&accounts->mint, token_program));
    TRY(roles_ok(&args->roles));
    TRY(limits_ok(&args->limits));

    u8 bump;
    TRY(create_ledger(call, accounts, &bump));
    Ledger *ledger = (Ledger *)accounts->ledger.data;
    fill(call, accounts, ledger);
    ledger->bump = bump;
    return vault_ok(ledger, accounts);
}
