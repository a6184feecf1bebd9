/* The program's door: a table of handlers in one source, the handlers in others. */
#include "tally.h"

static Handler const HANDLERS[] = {create, add, mix};
static const char *const NAMES[] = {"create", "add", "mix"};
static const u8 NAME_LENGTHS[] = {6, 3, 3};

u64 entrypoint(u8 *raw);

u64 entrypoint(u8 *raw) {
    Input input;
    TRY(read_input(raw, &input));
    Reader arguments = reader_of(input.data, input.data_len);

    u64 number = read_u64(&arguments);
    REQUIRE(number < sizeof HANDLERS / sizeof *HANDLERS, NO_SUCH_INSTRUCTION);

    sol_log_(NAMES[number], NAME_LENGTHS[number]);
    return HANDLERS[number](&input, &arguments);
}
