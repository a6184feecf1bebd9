/* A program that says yes to everything and does nothing: a token program that moves no token. */
#include "sbpf.h"

u64 entrypoint(u8 *raw);

u64 entrypoint(u8 *raw) {
    (void)raw;
    return SUCCESS;
}
