/* The system calls of a program that runs as one of this machine, for whoever is its host.
 *
 * What a call is given must be there to the last byte: the address sanitizer sees when it is not.
 * Not covered: whether an address is off the curve (sol_create_program_address hashes the seeds and
 * no more), logs (they are read and dropped).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "sha256.h"

Host host = {
    .clock = {1000, 1700000000, 3, 4, 1700000000},
    .rent = {6960, 0x3ff0000000000000, 50},
};

static _Alignas(16) u8 memory[SCRATCH_BYTES];
/* Read by every call that takes bytes: what is logged or hashed must be there. */
static volatile u8 touched;

u8 *scratch(void) { return memory; }

void begin_call(void) {
    memset(memory, 0, sizeof memory);
    host.returned_len = 0;
}

static void touch(const void *bytes, u64 len) {
    for (u64 i = 0; i < len; i++) {
        touched = ((const u8 *)bytes)[i];
    }
}

static void touch_slices(const Slice *slices, u64 count) {
    for (u64 i = 0; i < count; i++) {
        touch(slices[i].start, slices[i].len);
    }
}

void sol_log_(const char *text, u64 len) { touch(text, len); }
void sol_log_64_(u64 a, u64 b, u64 c, u64 d, u64 e) { touched = (u8)(a ^ b ^ c ^ d ^ e); }
void sol_log_compute_units_(void) {}
void sol_log_pubkey(const Key *key) { touch(key, sizeof *key); }
void sol_log_data(const Slice *fields, u64 count) { touch_slices(fields, count); }

void sol_panic_(const char *file, u64 len, u64 line, u64 column) {
    fprintf(stderr, "panic at %.*s:%llu:%llu\n", (int)len, file, (unsigned long long)line,
            (unsigned long long)column);
    exit(3);
}

void sol_memcpy_(void *to, const void *from, u64 len) { memcpy(to, from, len); }
void sol_memmove_(void *to, const void *from, u64 len) { memmove(to, from, len); }
void sol_memset_(void *to, u8 value, u64 len) { memset(to, value, len); }
void sol_memcmp_(const void *a, const void *b, u64 len, int32_t *order) {
    *order = memcmp(a, b, len);
}

u64 sol_sha256(const Slice *parts, u64 count, u8 *digest) {
    Sha256 state;
    sha256_begin(&state);
    for (u64 i = 0; i < count; i++) {
        sha256_add(&state, parts[i].start, parts[i].len);
    }
    sha256_end(&state, digest);
    return SUCCESS;
}

u64 sol_create_program_address(const Slice *seeds, u64 count, const Key *program, Key *address) {
    static const char MARK[] = "ProgramDerivedAddress";
    Slice parts[18];
    REQUIRE(count <= 16, ERROR_SEEDS);
    for (u64 i = 0; i < count; i++) {
        REQUIRE(seeds[i].len <= 32, ERROR_SEEDS);
        parts[i] = seeds[i];
    }
    parts[count] = (Slice){program, sizeof *program};
    parts[count + 1] = (Slice){MARK, sizeof MARK - 1};
    return sol_sha256(parts, count + 2, address->bytes);
}

static bool is_known(const Key *address) {
    for (u64 i = 0; i < host.known_count; i++) {
        if (memcmp(address, host.known[i], sizeof *address) == 0) {
            return true;
        }
    }
    return false;
}

u64 sol_try_find_program_address(const Slice *seeds, u64 count, const Key *program, Key *address,
                                 u8 *bump) {
    Slice with_bump[16];
    REQUIRE(count < 16, ERROR_SEEDS);
    memcpy(with_bump, seeds, count * sizeof *seeds);
    with_bump[count] = (Slice){bump, 1};
    for (u32 tried = 0; host.known_count > 0 && tried < 255; tried++) {
        *bump = (u8)(255 - tried);
        TRY(sol_create_program_address(with_bump, count + 1, program, address));
        if (is_known(address)) {
            return SUCCESS;
        }
    }
    *bump = 255;
    return sol_create_program_address(with_bump, count + 1, program, address);
}

u64 sol_invoke_signed_c(const Instruction *instruction, const Account *accounts, u64 account_count,
                        const Signer *signers, u64 signer_count) {
    touch(instruction->program, sizeof(Key));
    touch(instruction->data, instruction->data_len);
    for (u64 i = 0; i < instruction->account_count; i++) {
        touch(instruction->accounts[i].key, sizeof(Key));
    }
    for (u64 i = 0; i < account_count; i++) {
        touch(accounts[i].data, accounts[i].data_len);
    }
    for (u64 i = 0; i < signer_count; i++) {
        touch_slices(signers[i].seeds, signers[i].count);
    }
    return host.other_program == NULL ? SUCCESS
                                      : host.other_program(instruction, accounts, account_count,
                                                           signers, signer_count);
}

u64 sol_get_clock_sysvar(Clock *clock) {
    *clock = host.clock;
    return SUCCESS;
}

u64 sol_get_rent_sysvar(Rent *rent) {
    *rent = host.rent;
    return SUCCESS;
}

u64 sol_get_sysvar(const Key *sysvar, u8 *bytes, u64 offset, u64 len) {
    touch(sysvar, sizeof *sysvar);
    memset(bytes, (int)offset, len);
    return SUCCESS;
}

u64 sol_get_stack_height(void) { return 1; }

void sol_set_return_data(const u8 *bytes, u64 len) {
    if (len > sizeof host.returned) {
        fprintf(stderr, "too much return data\n");
        exit(3);
    }
    memcpy(host.returned, bytes, len);
    host.returned_len = len;
}

u64 sol_get_return_data(u8 *bytes, u64 len, Key *program) {
    memset(program, 0, sizeof *program);
    memcpy(bytes, host.returned, len < host.returned_len ? len : host.returned_len);
    return host.returned_len;
}
