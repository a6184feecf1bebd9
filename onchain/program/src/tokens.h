/* Token accounts: whose they are, and transfers between them and the vault. */
#ifndef HYPER_TOKENS_H
#define HYPER_TOKENS_H

#include "ledger.h"

/* An account of SPL Token or Token-2022, without extensions. Source: their `state.rs`. */
typedef struct LAYOUT {
    Key mint;
    Key owner;
    u64 amount;
    u32 has_delegate;
    Key delegate;
    u8 state; /* 1: initialized, 2: frozen */
    u32 is_native;
    u64 native_reserve;
    u64 delegated_amount;
    u32 has_close_authority;
    Key close_authority;
} TokenAccount;

AT(TokenAccount, amount, 64);
AT(TokenAccount, has_delegate, 72);
AT(TokenAccount, state, 108);
AT(TokenAccount, has_close_authority, 129);
SIZED(TokenAccount, 165);

INLINE const TokenAccount *token_bytes(const Account *account) {
    return (const TokenAccount *)account->data;
}

/* The accounts of every transfer: the ledger's own vault, mint and token program. */
u64 token_accounts(const Ledger *ledger, const Account *vault, const Account *mint,
                   const Account *token_program);

/* A token account of the ledger's mint, whoever owns it. */
u64 token_account(const Ledger *ledger, const Account *account);

/* The same, owned by `owner`. */
u64 token_account_of(const Ledger *ledger, const Account *account, const Key *owner);

/* The associated token account of `wallet`; a bump of 0 is searched for and left in `bump`. */
u64 associated_account(const Ledger *ledger, const Key *wallet, u8 *bump, Key *address);

/* A destination that is the wallet's own associated token account. `bump` as above. */
u64 own_account(const Ledger *ledger, const Account *account, const Key *wallet, u8 *bump);

/* A destination that the wallet chose by signing. */
u64 any_account(const Ledger *ledger, const Account *account);

typedef struct {
    const Account *source;
    const Account *mint;
    const Account *destination;
    const Account *authority;
} Route;

/* transferChecked; `signer` is NULL where the authority signed the transaction. */
u64 transfer(const Call *call, const Route *route, u64 amount, const Signer *signer);

/* Pay out of the vault: the ledger signs. */
u64 pay(const Call *call, const Account *vault, const Account *mint, const Account *destination,
        u64 amount);

#endif
