/* The instructions that touch an account: create (a call to the system program), add. */
#include "tally.h"

static const Key SYSTEM_PROGRAM = {{0}};
static const char SEED[] = "tally";

/* CreateAccount of the system program, signed by the seeds of `tally`. */
static u64 create_account(const Input *input, const Signer *signer) {
    Rent rent;
    TRY(sol_get_rent_sysvar(&rent));
    u64 lamports = (128 + sizeof(Tally)) * rent.lamports_per_byte;
    if (rent.exemption_threshold_bits == 0x4000000000000000) {
        lamports *= 2;
    }

    u8 data[52];
    store_u32(data, 0);
    store_u64(data + 4, lamports);
    store_u64(data + 12, sizeof(Tally));
    *(Key *)(data + 20) = *input->program;
    AccountMeta metas[2] = {
        {input->accounts[0].key, true, true},
        {input->accounts[1].key, true, true},
    };
    Instruction instruction = {&SYSTEM_PROGRAM, metas, 2, data, sizeof data};
    return sol_invoke_signed_c(&instruction, input->accounts, input->account_count, signer, 1);
}

/* create(bump: u8), accounts: owner (pays, signs), tally, the system program. */
u64 create(const Input *input, Reader *arguments) {
    u8 bump = read_u8(arguments);
    REQUIRE(is_spent(arguments), ERROR_INSTRUCTION_DATA);
    REQUIRE(input->account_count == 3, ERROR_ACCOUNTS_MISSING);
    const Account *owner = &input->accounts[0];
    const Account *account = &input->accounts[1];
    REQUIRE(owner->is_signer, ERROR_SIGNATURE_MISSING);

    Slice seeds[3] = {{SEED, sizeof SEED - 1}, {owner->key, sizeof(Key)}, {&bump, 1}};
    Key address;
    TRY(sol_create_program_address(seeds, 3, input->program, &address));
    REQUIRE(key_equal(&address, account->key), WRONG_ADDRESS);
    Signer signer = {seeds, 3};
    TRY(create_account(input, &signer));

    Tally *tally = (Tally *)account->data;
    *tally = (Tally){TALLY_TAG, bump, 0, *owner->key};
    return SUCCESS;
}

/* add(amount: u64), accounts: owner (signs), tally. */
u64 add(const Input *input, Reader *arguments) {
    u64 amount = read_u64(arguments);
    REQUIRE(is_spent(arguments), ERROR_INSTRUCTION_DATA);
    REQUIRE(input->account_count == 2, ERROR_ACCOUNTS_MISSING);
    const Account *owner = &input->accounts[0];
    const Account *account = &input->accounts[1];
    REQUIRE(owner->is_signer, ERROR_SIGNATURE_MISSING);
    REQUIRE(key_equal(account->owner, input->program), ERROR_WRONG_PROGRAM);
    REQUIRE(account->data_len == sizeof(Tally), ERROR_ACCOUNT_DATA);

    Tally *tally = (Tally *)account->data;
    REQUIRE(tally->tag == TALLY_TAG, ERROR_ACCOUNT_DATA);
    REQUIRE(key_equal(&tally->owner, owner->key), NOT_THE_OWNER);
    u64 total;
    REQUIRE(!__builtin_add_overflow(tally->total, amount, &total), TOTAL_OVERFLOWS);
    tally->total = total;
    return SUCCESS;
}
