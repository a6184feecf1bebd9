/* Records: found by their seeds and their own bump, made where there is none. */
#include "records.h"

#include "addresses.h"
#include "creation.h"
#include "programs.h"

static const char CLAIM[] = "claim";
static const char DEPOSIT[] = "deposit";

typedef struct {
    Slice label; /* the first seed */
    u64 tag;
    u64 size;
    u64 bump_at;
} Kind;

static const Kind CLAIM_KIND = {
    {CLAIM, sizeof CLAIM - 1}, CLAIM_RECORD_TAG, CLAIM_RECORD_SIZE, CLAIM_RECORD_BUMP};
static const Kind DEPOSIT_KIND = {
    {DEPOSIT, sizeof DEPOSIT - 1}, DEPOSIT_RECORD_TAG, DEPOSIT_RECORD_SIZE, DEPOSIT_RECORD_BUMP};

INLINE void seeds_of(Derived *derived, const Call *call, const Kind *kind, const Key *whose) {
    begin_address(derived, call->input.program);
    derived->parts[0] = kind->label;
    derived->parts[1] = key_slice(call->ledger_account->key);
    derived->parts[2] = key_slice(whose);
}

static u64 existing(const Call *call, const Kind *kind, const Account *account, const Key *whose) {
    REQUIRE(key_equal(account->owner, call->input.program), ERR_INVALID_RECORD);
    REQUIRE(account->data_len == kind->size, ERR_INVALID_RECORD);
    REQUIRE(load_u64(account->data) == kind->tag, ERR_INVALID_RECORD);

    Derived derived;
    Key address;
    seeds_of(&derived, call, kind, whose);
    /* equal [TRY off]: fails for pointers out of bounds only. */
    TRY(address_at_bump(&derived, account->data[kind->bump_at], &address));
    REQUIRE(key_equal(&address, account->key), ERR_INVALID_RECORD);
    return SUCCESS;
}

typedef struct {
    const Account *account;
    const Key *whose;
    const Account *payer;
} Opening;

static u64 make(const Call *call, const Kind *kind, const Opening *opening) {
    const Account *account = opening->account;
    REQUIRE(key_equal(account->owner, &SYSTEM_PROGRAM), ERR_INVALID_RECORD);

    Derived derived;
    Key address;
    seeds_of(&derived, call, kind, opening->whose);
    /* equal [TRY off]: seeds without any address are not to be found. */
    TRY(find_address(&derived, &address));
    REQUIRE(key_equal(&address, account->key), ERR_INVALID_RECORD);

    Creation creation = {opening->payer, account, kind->size, {derived.parts, 4}};
    TRY(create_account(&call->input, &creation));
    store_u64(account->data, kind->tag);
    account->data[kind->bump_at] = derived.bump;
    return SUCCESS;
}

u64 existing_claim_record(const Call *call, const Account *account, const Key *wallet,
                          ClaimRecord **record) {
    *record = (ClaimRecord *)account->data;
    return existing(call, &CLAIM_KIND, account, wallet);
}

u64 open_claim_record(const Call *call, const Account *account, const Key *wallet,
                      const Account *payer, ClaimRecord **record) {
    *record = (ClaimRecord *)account->data;
    if (key_equal(account->owner, call->input.program)) {
        return existing(call, &CLAIM_KIND, account, wallet);
    }
    Opening opening = {account, wallet, payer};
    return make(call, &CLAIM_KIND, &opening);
}

u64 existing_deposit_record(const Call *call, const Account *account, const Key *owner,
                            DepositRecord **record) {
    *record = (DepositRecord *)account->data;
    return existing(call, &DEPOSIT_KIND, account, owner);
}

u64 open_deposit_record(const Call *call, const Account *account, const Key *owner,
                        const Account *payer, DepositRecord **record) {
    *record = (DepositRecord *)account->data;
    if (key_equal(account->owner, call->input.program)) {
        return existing(call, &DEPOSIT_KIND, account, owner);
    }
    Opening opening = {account, owner, payer};
    TRY(make(call, &DEPOSIT_KIND, &opening));
    (*record)->ledger = *call->ledger_account->key;
    (*record)->owner = *owner;
    return SUCCESS;
}
