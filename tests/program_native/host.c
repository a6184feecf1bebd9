/* A host for a program's sources: system calls of our own, inputs from a file, under sanitizers.
 *
 * In:   a file of inputs: each a u64 length and that many bytes, as the VM lays them out.
 * Out:  for each, on standard output: the result, the return data, the input after the call (hex);
 *       with a second argument the result alone.
 * Why:  a read or write outside of the input, of the scratch memory or of the stack is seen here by
 *       the address sanitizer, and undefined arithmetic by the other; the VM would go on.
 * Not covered: calls to other programs (they succeed and do nothing), whether an address is off the
 * curve (sol_create_program_address hashes the seeds and no more), logs (they are read and dropped).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sbpf.h"
#include "sha256.h"

u64 entrypoint(u8 *raw);

static _Alignas(16) u8 memory[SCRATCH_BYTES];
static u8 returned[1024];
static u64 returned_len;
/* Read by every call that takes bytes: what is logged or hashed must be there. */
static volatile u8 touched;

u8 *scratch(void) { return memory; }

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

u64 sol_try_find_program_address(const Slice *seeds, u64 count, const Key *program, Key *address,
                                 u8 *bump) {
    Slice with_bump[16];
    REQUIRE(count < 16, ERROR_SEEDS);
    memcpy(with_bump, seeds, count * sizeof *seeds);
    *bump = 255;
    with_bump[count] = (Slice){bump, 1};
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
    return SUCCESS;
}

u64 sol_get_clock_sysvar(Clock *clock) {
    *clock = (Clock){1000, 1700000000, 3, 4, 1700000000};
    return SUCCESS;
}

u64 sol_get_rent_sysvar(Rent *rent) {
    *rent = (Rent){6960, 0x3ff0000000000000, 50};
    return SUCCESS;
}

u64 sol_get_sysvar(const Key *sysvar, u8 *bytes, u64 offset, u64 len) {
    touch(sysvar, sizeof *sysvar);
    memset(bytes, (int)offset, len);
    return SUCCESS;
}

u64 sol_get_stack_height(void) { return 1; }

void sol_set_return_data(const u8 *bytes, u64 len) {
    if (len > sizeof returned) {
        fprintf(stderr, "too much return data\n");
        exit(3);
    }
    memcpy(returned, bytes, len);
    returned_len = len;
}

u64 sol_get_return_data(u8 *bytes, u64 len, Key *program) {
    memset(program, 0, sizeof *program);
    memcpy(bytes, returned, len < returned_len ? len : returned_len);
    return returned_len;
}

static void print_hex(const u8 *bytes, u64 len, char end) {
    for (u64 i = 0; i < len; i++) {
        printf("%02x", bytes[i]);
    }
    putchar(end);
}

/* One input in memory of exactly its size, so that one byte too far is seen. */
static void run(FILE *file, u64 len, bool is_brief) {
    u8 *input = malloc(len);
    if (!input || fread(input, 1, len, file) != len) {
        fprintf(stderr, "the inputs are cut off\n");
        exit(2);
    }
    memset(memory, 0, sizeof memory);
    returned_len = 0;
    printf("%llu ", (unsigned long long)entrypoint(input));
    print_hex(returned, is_brief ? 0 : returned_len, ' ');
    print_hex(input, is_brief ? 0 : len, '\n');
    free(input);
}

int main(int count, char **arguments) {
    FILE *file = count > 1 ? fopen(arguments[1], "rb") : NULL;
    u64 len;
    if (!file) {
        fprintf(stderr, "usage: host INPUTS [brief]\n");
        return 2;
    }
    while (fread(&len, sizeof len, 1, file) == 1) {
        run(file, len, count > 2);
    }
    fclose(file);
    return 0;
}
