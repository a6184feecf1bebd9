/* The ABI of a Solana program in C: input, accounts, system calls, loads and stores.
 *
 * How an instruction is written (whole: tests/program_samples/tally):
 *
 *     typedef struct LAYOUT { u64 tag; u64 total; Key owner; } Tally;   // bytes of an account
 *
 *     static u64 add(const Input *input, Reader *arguments) {
 *         const Account *tally_account = &input->accounts[0];
 *         const Account *owner = &input->accounts[1];
 *         REQUIRE(input->account_count == 2, ERROR_ACCOUNTS_MISSING);
 *         REQUIRE(owner->is_signer, ERROR_SIGNATURE_MISSING);
 *         REQUIRE(key_equal(tally_account->owner, input->program), ERROR_WRONG_PROGRAM);
 *         REQUIRE(tally_account->data_len == sizeof(Tally), ERROR_ACCOUNT_DATA);
 *
 *         u64 amount = read_u64(arguments);
 *         REQUIRE(is_spent(arguments), ERROR_INSTRUCTION_DATA);
 *
 *         Tally *tally = (Tally *)tally_account->data;
 *         REQUIRE(key_equal(&tally->owner, owner->key), 6000);          // Anchor's first own code
 *         REQUIRE(!__builtin_add_overflow(tally->total, amount, &tally->total), 6001);
 *         return SUCCESS;
 *     }
 *
 *     u64 entrypoint(u8 *raw) {
 *         Input input;
 *         TRY(read_input(raw, &input));
 *         Reader arguments = reader_of(input.data, input.data_len);
 *         switch (read_u64(&arguments)) {                               // 8 bytes, as Anchor has
 *         case TAG_ADD: return add(&input, &arguments);
 *         default: return 101;                          // InstructionFallbackNotFound
 *         }
 *     }
 *
 * For those who come from Anchor: `Account` is `AccountInfo`, REQUIRE is `require!`, TRY is `?`,
 * LAYOUT is `#[repr(C, packed)]`; nothing is checked unless a line says so: owner, signer,
 * writable, length and tag of every account are yours to demand.
 *
 * Rules:
 *   1. No mutable globals, no floating point, no 128-bit arithmetic, at most five arguments (pass a
 *      struct by pointer), a stack frame of 4 KiB, 64 frames deep. The build refuses the rest.
 *   2. Bytes of others are read by load_*, written by store_*, or through a LAYOUT struct: neither
 *      assumes alignment or a declared type. An amount is read before it is used twice.
 *   3. Everything that only the VM has stands behind a name here (`scratch`). Without `__bpf__` the
 *      same sources are a host's program, and whoever links it brings the system calls.
 *
 * Not covered: resizing accounts; the length of the input, which the runtime does not tell: a
 * host that feeds made-up bytes to `read_input` must keep them well formed.
 * Source: Agave's aligned input (loaders 2 and 3) and the C structures of its system calls.
 */
#ifndef SBPF_H
#define SBPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;

#define INLINE static inline __attribute__((always_inline, unused))
/* A function that keeps a stack frame of its own; it is also counted by its own name in profiles. */
#define NOINLINE __attribute__((noinline))
/* Bytes as they lie in an account or an instruction: no padding, any alignment, any declared type. */
#define LAYOUT __attribute__((packed, may_alias))

/* Accounts that an instruction may bring; more are refused. Every source must see the same number. */
#ifndef ACCOUNTS_MAX
#define ACCOUNTS_MAX 16
#endif

/* ---- Results: 0 is success, the upper half is the runtime's own error, the lower half is ours. */

#define SUCCESS ((u64)0)
#define RUNTIME_ERROR(number) ((u64)(number) << 32)
#define ERROR_ARGUMENT RUNTIME_ERROR(2)
#define ERROR_INSTRUCTION_DATA RUNTIME_ERROR(3)
#define ERROR_ACCOUNT_DATA RUNTIME_ERROR(4)
#define ERROR_WRONG_PROGRAM RUNTIME_ERROR(7)
#define ERROR_SIGNATURE_MISSING RUNTIME_ERROR(8)
#define ERROR_ACCOUNTS_MISSING RUNTIME_ERROR(11)
#define ERROR_SEEDS RUNTIME_ERROR(14)
#define ERROR_OVERFLOW RUNTIME_ERROR(24)

/* Leave the function with the error of `call`, if there is one. */
#define TRY(call)                    \
    do {                             \
        u64 error_of_call_ = (call); \
        if (error_of_call_) {        \
            return error_of_call_;   \
        }                            \
    } while (0)

/* Leave the function with `error` unless `condition` holds. */
#define REQUIRE(condition, error) \
    do {                          \
        if (!(condition)) {       \
            return (error);       \
        }                         \
    } while (0)

/* ---- What the system calls take: the order and size of every field are the runtime's. */

/* An address. One byte of alignment: it may stand anywhere. */
typedef struct LAYOUT {
    u8 bytes[32];
} Key;

/* Bytes somewhere: a part of what is hashed or logged, a seed of an address. */
typedef struct {
    const void *start;
    u64 len;
} Slice;

/* The seeds of one signature of ours. */
typedef struct {
    const Slice *seeds;
    u64 count;
} Signer;

/* An account of this instruction. The bytes are the runtime's: what is written there counts. */
typedef struct {
    const Key *key;
    u8 *lamports; /* u64: load_u64, store_u64 */
    u64 data_len; /* after a call to another program the runtime updates it in the array passed */
    u8 *data;
    const Key *owner;
    u64 rent_epoch;
    bool is_signer;
    bool is_writable;
    bool is_executable;
} Account;

/* An account as another program is to see it. */
typedef struct {
    const Key *key;
    bool is_writable;
    bool is_signer;
} AccountMeta;

/* A call to another program. */
typedef struct {
    const Key *program;
    const AccountMeta *accounts;
    u64 account_count;
    const u8 *data;
    u64 data_len;
} Instruction;

typedef struct {
    u64 slot;
    i64 epoch_start_timestamp;
    u64 epoch;
    u64 leader_schedule_epoch;
    i64 unix_timestamp; /* seconds, the stake-weighted median of the validators' clocks */
} Clock;

typedef struct {
    u64 lamports_per_byte;
    u64 exemption_threshold_bits; /* an IEEE double: 1.0 is 0x3ff0000000000000, 2.0 0x4000... */
    u8 burn_percent;
} Rent;

_Static_assert(sizeof(Key) == 32 && sizeof(Slice) == 16 && sizeof(Signer) == 16, "ABI");
_Static_assert(sizeof(Account) == 56 && sizeof(AccountMeta) == 16, "ABI");
_Static_assert(sizeof(Instruction) == 40, "ABI");
_Static_assert(sizeof(Clock) == 40 && sizeof(Rent) == 24, "ABI");

/* ---- System calls: undefined here, found by name in the VM. Those that return u64 return an error. */

void sol_log_(const char *text, u64 len);
void sol_log_64_(u64 a, u64 b, u64 c, u64 d, u64 e);
void sol_log_compute_units_(void);
void sol_log_pubkey(const Key *key);
void sol_log_data(const Slice *fields, u64 count);
void sol_panic_(const char *file, u64 len, u64 line, u64 column);
void sol_memcpy_(void *to, const void *from, u64 len);
void sol_memmove_(void *to, const void *from, u64 len);
void sol_memset_(void *to, u8 value, u64 len);
void sol_memcmp_(const void *a, const void *b, u64 len, int32_t *order);
u64 sol_sha256(const Slice *parts, u64 count, u8 *digest);
u64 sol_create_program_address(const Slice *seeds, u64 count, const Key *program, Key *address);
u64 sol_try_find_program_address(const Slice *seeds, u64 count, const Key *program, Key *address,
                                 u8 *bump);
u64 sol_invoke_signed_c(const Instruction *instruction, const Account *accounts, u64 account_count,
                        const Signer *signers, u64 signer_count);
u64 sol_get_clock_sysvar(Clock *clock);
u64 sol_get_rent_sysvar(Rent *rent);
u64 sol_get_sysvar(const Key *sysvar, u8 *bytes, u64 offset, u64 len);
u64 sol_get_stack_height(void); /* 1 when a transaction called us, more when a program did */
void sol_set_return_data(const u8 *bytes, u64 len);
u64 sol_get_return_data(u8 *bytes, u64 len, Key *program);

#define LOG(text) sol_log_("" text, sizeof(text) - 1)
/* Stop the transaction where we stand and say so in the log. For what cannot be, not for refusals. */
#define PANIC() sol_panic_(__FILE_NAME__, sizeof(__FILE_NAME__) - 1, __LINE__, 0)

/* ---- Memory that only the VM has. */

/* The heap: zero when an instruction begins, and no one else's. */
#define SCRATCH_BYTES 32768
#if defined(__bpf__)
INLINE u8 *scratch(void) { return (u8 *)0x300000000; }
#else
u8 *scratch(void); /* the host's: SCRATCH_BYTES, aligned to 16, zeroed before each entrypoint() */
#endif

/* ---- Loads and stores, little-endian, any alignment. */

INLINE u16 load_u16(const void *at) {
    u16 value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

INLINE u32 load_u32(const void *at) {
    u32 value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

INLINE u64 load_u64(const void *at) {
    u64 value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

INLINE i64 load_i64(const void *at) { return (i64)load_u64(at); }

INLINE void store_u16(void *at, u16 value) { __builtin_memcpy(at, &value, sizeof value); }
INLINE void store_u32(void *at, u32 value) { __builtin_memcpy(at, &value, sizeof value); }
INLINE void store_u64(void *at, u64 value) { __builtin_memcpy(at, &value, sizeof value); }
INLINE void store_i64(void *at, i64 value) { __builtin_memcpy(at, &value, sizeof value); }

INLINE bool key_equal(const Key *a, const Key *b) {
    return load_u64(a->bytes) == load_u64(b->bytes) && load_u64(a->bytes + 8) == load_u64(b->bytes + 8)
        && load_u64(a->bytes + 16) == load_u64(b->bytes + 16)
        && load_u64(a->bytes + 24) == load_u64(b->bytes + 24);
}

INLINE bool key_is_zero(const Key *key) {
    return (load_u64(key->bytes) | load_u64(key->bytes + 8) | load_u64(key->bytes + 16)
            | load_u64(key->bytes + 24)) == 0;
}

/* For a copy of a key write `*to = *from`. */

/* ---- Arguments: read in order, an end that is never passed. */

typedef struct {
    const u8 *at;
    u64 left;
    bool is_short; /* something was read past the end: zeros were given instead */
} Reader;

INLINE Reader reader_of(const u8 *bytes, u64 len) { return (Reader){bytes, len, false}; }

/* The next `len` bytes where they lie, or NULL where there are fewer. */
INLINE const u8 *read_bytes(Reader *reader, u64 len) {
    if (reader->left < len) {
        reader->is_short = true;
        return NULL;
    }
    const u8 *bytes = reader->at;
    reader->at += len;
    reader->left -= len;
    return bytes;
}

INLINE u8 read_u8(Reader *reader) {
    const u8 *bytes = read_bytes(reader, 1);
    return bytes ? *bytes : 0;
}

INLINE u16 read_u16(Reader *reader) {
    const u8 *bytes = read_bytes(reader, sizeof(u16));
    return bytes ? load_u16(bytes) : 0;
}

INLINE u32 read_u32(Reader *reader) {
    const u8 *bytes = read_bytes(reader, sizeof(u32));
    return bytes ? load_u32(bytes) : 0;
}

INLINE u64 read_u64(Reader *reader) {
    const u8 *bytes = read_bytes(reader, sizeof(u64));
    return bytes ? load_u64(bytes) : 0;
}

INLINE i64 read_i64(Reader *reader) { return (i64)read_u64(reader); }

INLINE const Key *read_key(Reader *reader) { return (const Key *)read_bytes(reader, sizeof(Key)); }

/* Everything was there and nothing is left: ask after the last argument, before the first effect. */
INLINE bool is_spent(const Reader *reader) { return !reader->is_short && reader->left == 0; }

/* ---- The input of an instruction. */

typedef struct {
    Account accounts[ACCOUNTS_MAX];
    u64 account_count;
    const u8 *data; /* the arguments */
    u64 data_len;
    const Key *program; /* our own address */
} Input;

/* Bytes that the runtime keeps free behind an account's data, for those who make it longer. */
#define ACCOUNT_GROWTH_BYTES 10240

/* One account that is not a repetition; returns where the next begins. */
INLINE u8 *read_account_(u8 *at, Account *account) {
    account->is_signer = at[1] != 0;
    account->is_writable = at[2] != 0;
    account->is_executable = at[3] != 0;
    account->key = (const Key *)(at + 8);
    account->owner = (const Key *)(at + 40);
    account->lamports = at + 72;
    account->data_len = load_u64(at + 80);
    account->data = at + 88;
    /* The data begins at a multiple of 8; what follows does too. */
    at += 88 + ((account->data_len + ACCOUNT_GROWTH_BYTES + 7) & ~(u64)7);
    account->rent_epoch = load_u64(at);
    return at + 8;
}

/* Fill `input` from what the runtime gave to entrypoint(). An account named twice is there twice. */
INLINE u64 read_input(u8 *raw, Input *input) {
    u64 count = load_u64(raw);
    u8 *at = raw + 8;
    REQUIRE(count <= ACCOUNTS_MAX, ERROR_ARGUMENT);
    for (u64 i = 0; i < count; i++) {
        u8 first = at[0];
        if (first == 0xff) {
            at = read_account_(at, &input->accounts[i]);
        } else {
            REQUIRE(first < i, ERROR_ARGUMENT);
            input->accounts[i] = input->accounts[first];
            at += 8;
        }
    }
    input->account_count = count;
    input->data_len = load_u64(at);
    input->data = at + 8;
    input->program = (const Key *)(input->data + input->data_len);
    return SUCCESS;
}

#endif
