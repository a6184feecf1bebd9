/* Arithmetic that two compilers must agree on: widths, signs, shifts, recursion, unaligned bytes. */
#include "tally.h"

static u64 by_product(u64 value, u32 round) {
    u32 low = (u32)value * 2654435761u + round;
    return value ^ ((u64)low << (round & 31));
}

static u64 by_sign(u64 value, u32 round) {
    int32_t narrow = (int32_t)value - (int32_t)(round * 77777u);
    return (u64)((i64)narrow >> 3) + value;
}

static u64 by_quotient(u64 value, u32 round) { return value / (round + 3) ^ value % (round + 11); }

static u64 by_bytes(u64 value, u32 round) {
    u8 *bytes = scratch() + (round & 7);
    store_u64(bytes, value);
    store_u16(bytes + 3, (u16)(load_u32(bytes + 1) + round));
    return load_u64(bytes) ^ __builtin_bswap64(value);
}

static u64 (*const STEPS[])(u64, u32) = {by_product, by_sign, by_quotient, by_bytes};

/* Recursive, so that frames and calls by pointer nest. */
NOINLINE static u64 stir(u64 value, u32 rounds) {
    if (rounds == 0) {
        return value;
    }
    return stir(STEPS[value & 3](value, rounds), rounds - 1) + rounds;
}

/* mix(value: u64, rounds: u32): returns stir() and the digest of it and of what is in `scratch`. */
u64 mix(const Input *input, Reader *arguments) {
    (void)input;
    u64 value = read_u64(arguments);
    u32 rounds = read_u32(arguments);
    REQUIRE(is_spent(arguments), ERROR_INSTRUCTION_DATA);
    REQUIRE(rounds <= 20, ERROR_ARGUMENT);

    u8 result[40];
    store_u64(result, stir(value, rounds));
    Slice parts[2] = {{result, 8}, {scratch(), 16}};
    TRY(sol_sha256(parts, 2, result + 8));
    Slice fields[1] = {{result, sizeof result}};
    sol_log_data(fields, 1);
    sol_set_return_data(result, sizeof result);
    return SUCCESS;
}
