/* Accounts are made by calls of the system program. */
#include "creation.h"

#include "programs.h"

/* Numbers of the system program's instructions. */
enum { CREATE_ACCOUNT = 0, ASSIGN = 1, TRANSFER = 2, ALLOCATE = 8 };

#define THRESHOLD_ONE 0x3ff0000000000000ULL /* 1.0 as an IEEE double */
#define THRESHOLD_TWO 0x4000000000000000ULL /* 2.0 */
#define ACCOUNT_OVERHEAD 128                /* bytes that rent counts for every account */

typedef struct LAYOUT {
    u32 number;
    u64 lamports;
    u64 size;
    Key owner;
} CreateAccount;

typedef struct LAYOUT {
    u32 number;
    u64 lamports;
} Transfer;

typedef struct LAYOUT {
    u32 number;
    u64 size;
} Allocate;

typedef struct LAYOUT {
    u32 number;
    Key owner;
} Assign;

/* Lamports with which an account of `size` bytes pays no rent. */
static u64 rent_for(u64 size, u64 *lamports) {
    Rent rent;
    /* equal [TRY off]: fails for pointers out of bounds only. */
    TRY(sol_get_rent_sysvar(&rent));
    u64 once = (ACCOUNT_OVERHEAD + size) * rent.lamports_per_byte;
    REQUIRE(rent.exemption_threshold_bits == THRESHOLD_ONE
                || rent.exemption_threshold_bits == THRESHOLD_TWO,
            ERR_UNSUPPORTED_RENT);
    *lamports = rent.exemption_threshold_bits == THRESHOLD_ONE ? once : 2 * once;
    return SUCCESS;
}

static u64 call_system(const Input *input, const Creation *creation, Instruction *instruction) {
    instruction->program = &SYSTEM_PROGRAM;
    return sol_invoke_signed_c(instruction, input->accounts, input->account_count,
                               &creation->signer, 1);
}

static u64 create_empty(const Input *input, const Creation *creation, u64 lamports) {
    CreateAccount data = {CREATE_ACCOUNT, lamports, creation->size, *input->program};
    AccountMeta metas[2] = {
        {creation->payer->key, true, true},
        {creation->account->key, true, true},
    };
    Instruction instruction = {NULL, metas, 2, (const u8 *)&data, sizeof data};
    return call_system(input, creation, &instruction);
}

/* CreateAccount refuses an address that has lamports: add what is missing, then take it over. */
static u64 create_funded(const Input *input, const Creation *creation, u64 missing) {
    AccountMeta metas[2] = {
        {creation->payer->key, true, true},
        {creation->account->key, true, false},
    };
    /* equal [> to >=]: a transfer of nothing changes nothing. */
    if (missing > 0) {
        Transfer data = {TRANSFER, missing};
        Instruction instruction = {NULL, metas, 2, (const u8 *)&data, sizeof data};
        /* equal [TRY off]: a call that fails ends the transaction. */
        TRY(call_system(input, creation, &instruction));
    }
    AccountMeta own[1] = {{creation->account->key, true, true}};
    Allocate allocate = {ALLOCATE, creation->size};
    Instruction allocation = {NULL, own, 1, (const u8 *)&allocate, sizeof allocate};
    /* equal [TRY off]: a call that fails ends the transaction. */
    TRY(call_system(input, creation, &allocation));
    Assign assign = {ASSIGN, *input->program};
    Instruction assignment = {NULL, own, 1, (const u8 *)&assign, sizeof assign};
    return call_system(input, creation, &assignment);
}

u64 create_account(const Input *input, const Creation *creation) {
    u64 lamports;
    TRY(rent_for(creation->size, &lamports));
    u64 held = load_u64(creation->account->lamports);
    return held == 0 ? create_empty(input, creation, lamports)
                     : create_funded(input, creation, above(lamports, held));
}
