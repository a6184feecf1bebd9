/* A host for a program's sources: inputs from a file, results on standard output, sanitizers.
 *
 * In:   a file of inputs: each a u64 length and that many bytes, as the VM lays them out.
 * Out:  for each, on standard output: the result, the return data, the input after the call (hex);
 *       with a second argument the result alone.
 * Why:  a read or write outside of the input, of the scratch memory or of the stack is seen here by
 *       the address sanitizer, and undefined arithmetic by the other; the VM would go on.
 * Not covered: calls to other programs: they succeed and do nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "host.h"

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
    begin_call();
    printf("%llu ", (unsigned long long)entrypoint(input));
    print_hex(host.returned, is_brief ? 0 : host.returned_len, ' ');
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
