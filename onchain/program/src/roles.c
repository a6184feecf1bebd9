/* Who signs, and who may. */
#include "roles.h"

u64 signed_by(const Account *account) {
    REQUIRE(account->is_signer, ERR_MISSING_SIGNER);
    return SUCCESS;
}

u64 has_role(const Account *account, const Key *role) {
    TRY(signed_by(account));
    REQUIRE(key_equal(account->key, role), ERR_UNAUTHORIZED);
    return SUCCESS;
}

u64 has_either_role(const Account *account, const Key *role, const Key *other) {
    TRY(signed_by(account));
    REQUIRE(key_equal(account->key, role) || key_equal(account->key, other), ERR_UNAUTHORIZED);
    return SUCCESS;
}

u64 roles_ok(const Roles *roles) {
    REQUIRE(!key_is_zero(&roles->admin), ERR_ROLE_CONFLICT);
    REQUIRE(!key_is_zero(&roles->publisher), ERR_ROLE_CONFLICT);
    REQUIRE(!key_is_zero(&roles->guardian), ERR_ROLE_CONFLICT);
    REQUIRE(!key_equal(&roles->admin, &roles->publisher), ERR_ROLE_CONFLICT);
    REQUIRE(!key_equal(&roles->admin, &roles->guardian), ERR_ROLE_CONFLICT);
    REQUIRE(!key_equal(&roles->publisher, &roles->guardian), ERR_ROLE_CONFLICT);
    /* None of the three is zero here, so a voucher key of zero equals none of them. */
    REQUIRE(!key_equal(&roles->voucher_key, &roles->admin), ERR_ROLE_CONFLICT);
    REQUIRE(!key_equal(&roles->voucher_key, &roles->publisher), ERR_ROLE_CONFLICT);
    REQUIRE(!key_equal(&roles->voucher_key, &roles->guardian), ERR_ROLE_CONFLICT);
    return SUCCESS;
}
