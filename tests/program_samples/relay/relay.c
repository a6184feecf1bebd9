/* A program that calls another one: the first account names it, the rest and the data are its own.
 * Whoever signs for us signs for it. */
#define ACCOUNTS_MAX 32
#include "sbpf.h"

u64 entrypoint(u8 *raw);

u64 entrypoint(u8 *raw) {
    Input input;
    TRY(read_input(raw, &input));
    REQUIRE(input.account_count > 0, ERROR_ACCOUNTS_MISSING);

    u64 count = input.account_count - 1;
    AccountMeta *metas = (AccountMeta *)(void *)scratch();
    for (u64 i = 0; i < count; i++) {
        const Account *account = &input.accounts[i + 1];
        metas[i] = (AccountMeta){account->key, account->is_writable, account->is_signer};
    }
    Instruction instruction = {input.accounts[0].key, metas, count, input.data, input.data_len};
    return sol_invoke_signed_c(&instruction, input.accounts, input.account_count, NULL, 0);
}
