/* The system program and SPL Token, as far as the settlement program relies on them.
 *
 * In:   calls as the VM takes them. Out: the caller's own accounts, changed in place.
 * Rules: who signs, owns, and has how much is asked as those programs ask; what they refuse ends
 * the transaction on a chain, so the caller's host must look at what is returned here.
 * Not covered: extensions of Token-2022, delegates, native SOL; rent of what is left.
 * Source: Agave's system processor, SPL Token 3.5 `process_transfer`.
 */
#include "tokens.h" /* first: it says how many accounts there may be */

#include "other_programs.h"

#include <string.h>

enum { CREATE_ACCOUNT = 0, ASSIGN = 1, TRANSFER = 2, ALLOCATE = 8, TRANSFER_CHECKED = 12 };
/* Bytes that the runtime keeps free behind an account's data. */
enum { GROWTH = 10240, MINT_DECIMALS = 44, MINT_BYTES = 82 };

typedef struct {
    const Instruction *call;
    const Account *accounts;
    u64 account_count;
    const Signer *signers;
    u64 signer_count;
} Calling;

/* The account that the call names at `number`; NULL where the caller has not got it. */
static Account *named(const Calling *calling, u64 number) {
    for (u64 i = 0; number < calling->call->account_count && i < calling->account_count; i++) {
        if (key_equal(calling->accounts[i].key, calling->call->accounts[number].key)) {
            return (Account *)&calling->accounts[i];
        }
    }
    return NULL;
}

static bool signs(const Calling *calling, u64 number) {
    const Account *account = named(calling, number);
    if (!calling->call->accounts[number].is_signer || account->is_signer) {
        return calling->call->accounts[number].is_signer;
    }
    for (u64 i = 0; i < calling->signer_count; i++) {
        Key address;
        const Signer *signer = &calling->signers[i];
        if (sol_create_program_address(signer->seeds, signer->count, host.program, &address)
                == SUCCESS
            && key_equal(&address, account->key)) {
            return true;
        }
    }
    return false;
}

static u64 move_lamports(Account *source, Account *target, u64 amount) {
    u64 held = load_u64(source->lamports);
    REQUIRE(held >= amount && source->is_writable, ERROR_ARGUMENT);
    store_u64(source->lamports, held - amount);
    store_u64(target->lamports, load_u64(target->lamports) + amount);
    return SUCCESS;
}

static u64 allocate(Account *account, u64 size) {
    REQUIRE(account->data_len == 0 && size <= GROWTH, ERROR_ARGUMENT);
    REQUIRE(key_equal(account->owner, &(Key){{0}}), ERROR_ARGUMENT);
    account->data_len = size;
    store_u64(account->data - sizeof(u64), size);
    return SUCCESS;
}

static u64 assign(Account *account, const u8 *owner) {
    REQUIRE(key_equal(account->owner, &(Key){{0}}), ERROR_ARGUMENT);
    memcpy((Key *)account->owner, owner, sizeof(Key));
    return SUCCESS;
}

static u64 system_program(const Calling *calling) {
    const u8 *data = calling->call->data;
    Account *first = named(calling, 0), *second = named(calling, 1);
    REQUIRE(first && first->is_writable && signs(calling, 0), ERROR_SIGNATURE_MISSING);
    switch (load_u32(data)) {
    case CREATE_ACCOUNT:
        REQUIRE(second && second->is_writable && signs(calling, 1), ERROR_SIGNATURE_MISSING);
        REQUIRE(load_u64(second->lamports) == 0, ERROR_ARGUMENT);
        TRY(allocate(second, load_u64(data + 12)));
        TRY(assign(second, data + 20));
        return move_lamports(first, second, load_u64(data + 4));
    case TRANSFER:
        REQUIRE(second && second->is_writable && first->data_len == 0, ERROR_ARGUMENT);
        return move_lamports(first, second, load_u64(data + 4));
    case ALLOCATE:
        return allocate(first, load_u64(data + 4));
    case ASSIGN:
        return assign(first, data + 4);
    default:
        return ERROR_INSTRUCTION_DATA;
    }
}

static bool is_of_token(const Calling *calling, const Account *account, u64 size) {
    return account && key_equal(account->owner, calling->call->program) && account->data_len >= size;
}

static u64 token_program(const Calling *calling) {
    const u8 *data = calling->call->data;
    const Account *mint = named(calling, 1), *target = named(calling, 2);
    const Account *source = named(calling, 0), *authority = named(calling, 3);
    REQUIRE(data[0] == TRANSFER_CHECKED && authority, ERROR_INSTRUCTION_DATA);
    REQUIRE(is_of_token(calling, source, sizeof(TokenAccount)), ERROR_ACCOUNT_DATA);
    REQUIRE(is_of_token(calling, target, sizeof(TokenAccount)), ERROR_ACCOUNT_DATA);
    REQUIRE(is_of_token(calling, mint, MINT_BYTES), ERROR_ACCOUNT_DATA);
    TokenAccount *from = (TokenAccount *)source->data, *to = (TokenAccount *)target->data;
    REQUIRE(from->state == 1 && to->state == 1, ERROR_ACCOUNT_DATA);
    REQUIRE(key_equal(&from->mint, mint->key) && key_equal(&to->mint, mint->key), ERROR_ARGUMENT);
    REQUIRE(mint->data[MINT_DECIMALS] == data[9], ERROR_ARGUMENT);
    REQUIRE(key_equal(&from->owner, authority->key) && signs(calling, 3), ERROR_SIGNATURE_MISSING);
    REQUIRE(source->is_writable && target->is_writable, ERROR_ARGUMENT);
    u64 amount = load_u64(data + 1);
    REQUIRE(from->amount >= amount && (from == to || to->amount <= UINT64_MAX - amount),
            ERROR_OVERFLOW);
    from->amount -= amount;
    to->amount += amount;
    return SUCCESS;
}

u64 call_other_program(const Instruction *call, const Account *accounts, u64 account_count,
                       const Signer *signers, u64 signer_count) {
    Calling calling = {call, accounts, account_count, signers, signer_count};
    return key_equal(call->program, &(Key){{0}}) ? system_program(&calling)
                                                 : token_program(&calling);
}
