/* Token accounts are checked byte by byte; money moves by calls of the token program. */
#include "tokens.h"

#include "addresses.h"
#include "programs.h"

/* Token-2022 marks an account of 165 bytes with an extension (the immutable owner) by a kind. */
enum { EXTENDED_LENGTH = 170, KIND_AT = 165, KIND_ACCOUNT = 2, INITIALIZED = 1 };

enum { TRANSFER_CHECKED = 12 };

typedef struct LAYOUT {
    u8 number;
    u64 amount;
    u8 decimals;
} TransferChecked;

u64 token_accounts(const Ledger *ledger, const Account *vault, const Account *mint,
                   const Account *token_program) {
    REQUIRE(key_equal(vault->key, &ledger->vault), ERR_WRONG_VAULT);
    REQUIRE(key_equal(mint->key, &ledger->mint), ERR_WRONG_MINT);
    REQUIRE(key_equal(token_program->key, &ledger->token_program), ERR_WRONG_TOKEN_PROGRAM);
    return SUCCESS;
}

static bool is_token_length(const Account *account) {
    return account->data_len == sizeof(TokenAccount)
        || (account->data_len == EXTENDED_LENGTH && account->data[KIND_AT] == KIND_ACCOUNT);
}

u64 token_account(const Ledger *ledger, const Account *account) {
    REQUIRE(key_equal(account->owner, &ledger->token_program), ERR_INVALID_TOKEN_ACCOUNT);
    REQUIRE(is_token_length(account), ERR_INVALID_TOKEN_ACCOUNT);
    REQUIRE(token_bytes(account)->state == INITIALIZED, ERR_INVALID_TOKEN_ACCOUNT);
    REQUIRE(key_equal(&token_bytes(account)->mint, &ledger->mint), ERR_WRONG_MINT);
    return SUCCESS;
}

u64 token_account_of(const Ledger *ledger, const Account *account, const Key *owner) {
    TRY(token_account(ledger, account));
    REQUIRE(key_equal(&token_bytes(account)->owner, owner), ERR_WRONG_TOKEN_OWNER);
    return SUCCESS;
}

u64 associated_account(const Ledger *ledger, const Key *wallet, u8 *bump, Key *address) {
    Derived derived;
    begin_address(&derived, &ASSOCIATED_TOKEN);
    derived.parts[0] = key_slice(wallet);
    derived.parts[1] = key_slice(&ledger->token_program);
    derived.parts[2] = key_slice(&ledger->mint);
    if (*bump != 0) {
        return address_at_bump(&derived, *bump, address);
    }
    /* equal [TRY off]: seeds without any address are not to be found. */
    TRY(find_address(&derived, address));
    *bump = derived.bump;
    return SUCCESS;
}

u64 own_account(const Ledger *ledger, const Account *account, const Key *wallet, u8 *bump) {
    TRY(token_account_of(ledger, account, wallet));
    Key address;
    /* equal [TRY off]: seeds without any address are not to be found. */
    TRY(associated_account(ledger, wallet, bump, &address));
    REQUIRE(key_equal(account->key, &address), ERR_WRONG_DESTINATION);
    REQUIRE(!key_equal(account->key, &ledger->vault), ERR_WRONG_DESTINATION);
    return SUCCESS;
}

u64 any_account(const Ledger *ledger, const Account *account) {
    TRY(token_account(ledger, account));
    REQUIRE(!key_equal(account->key, &ledger->vault), ERR_WRONG_DESTINATION);
    return SUCCESS;
}

u64 transfer(const Call *call, const Route *route, u64 amount, const Signer *signer) {
    const Input *input = &call->input;
    TransferChecked data = {TRANSFER_CHECKED, amount, call->ledger->decimals};
    AccountMeta metas[4] = {
        {route->source->key, true, false},
        {route->mint->key, false, false},
        {route->destination->key, true, false},
        {route->authority->key, false, true},
    };
    Instruction instruction = {
        &call->ledger->token_program, metas, 4, (const u8 *)&data, sizeof data};
    /* All accounts go along: the runtime picks the four, and copying them would cost more. */
    return sol_invoke_signed_c(&instruction, input->accounts, input->account_count, signer,
                               signer ? 1 : 0);
}

u64 pay(const Call *call, const Account *vault, const Account *mint, const Account *destination,
        u64 amount) {
    const Ledger *ledger = call->ledger;
    static const char LEDGER_SEED[] = "ledger";
    Slice seeds[3] = {
        {LEDGER_SEED, sizeof LEDGER_SEED - 1}, key_slice(&ledger->base), {&ledger->bump, 1}};
    Signer signer = {seeds, 3};
    Route route = {vault, mint, destination, call->ledger_account};
    return transfer(call, &route, amount, &signer);
}
