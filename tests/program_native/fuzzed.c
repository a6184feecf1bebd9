/* A host for the settlement program's sources under AFL++: one short input, one call, an oracle.
 *
 * In:   from AFL, or on standard input, little-endian: the program's address, Unix s i64, slot u64,
 *       rent (lamports a byte u64, threshold as a double's bits u64), a count u8 of accounts, and
 *       for each: marker u8 (0xff: it is told here; else the number of one told before), flags u8
 *       (1 signs, 2 writable, 4 executable), key, owner, lamports u64, length u16, data; then a
 *       length u16 and the instruction. What is missing is no input.
 * Out:  the result of the call as a number and a line feed; `refused` in its place where the
 *       runtime or another program would have ended the transaction, `unlawful` where nothing is
 *       called: a ledger with limits that no instruction lets in.
 * Seen: what the sanitizers see; and of a call that succeeds: a counter of the ledger that fell,
 *       unlawful limits, and, where it was otherwise before: promises beyond the deposits, payments
 *       beyond the promises, a vault that holds less than is owed.
 * Not covered: how the VM lays the input out (it is laid out here), units, nested calls, `advance`
 * where made-up records do not fit it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tokens.h" /* first: it says how many accounts there may be */

#include "host.h"
#include "limits.h"
#include "other_programs.h"
#include "records.h"

enum { GROWTH = 10240, ACCOUNTS_TOLD_MAX = 40, SHORT_INPUT_MAX = 1 << 17 };
enum { ROOM = ACCOUNTS_TOLD_MAX * (GROWTH + 200) + 2 * SHORT_INPUT_MAX };
typedef unsigned __int128 Wide;

enum { SIGNS = 1, WRITABLE = 2, EXECUTABLE = 4 };

typedef struct {
    const u8 *at;
    u64 left;
    bool is_short;
} Told;

/* The next bytes; NULL where so many are not left. */
static const u8 *take(Told *told, u64 len) {
    if (told->left < len) {
        told->is_short = true;
        return NULL;
    }
    const u8 *taken = told->at;
    told->at += len;
    told->left -= len;
    return taken;
}

static u64 take_number(Told *told, u64 size) {
    const u8 *bytes = take(told, size);
    u64 number = 0;
    for (u64 i = 0; bytes && i < size; i++) {
        number |= (u64)bytes[i] << (8 * i);
    }
    return number;
}

/* The input as the VM lays it out, in memory of exactly its size. */
typedef struct {
    u8 *bytes;
    u64 len;
    bool has_data[ACCOUNTS_TOLD_MAX];
    u64 data_at[ACCOUNTS_TOLD_MAX];
} Laid;

static void put(Laid *laid, const void *bytes, u64 len) {
    if (bytes) {
        memcpy(laid->bytes + laid->len, bytes, len);
    } else {
        memset(laid->bytes + laid->len, 0, len);
    }
    laid->len += len;
}

static void put_number(Laid *laid, u64 number) { put(laid, &number, sizeof number); }

static void lay_account(Laid *laid, Told *told, u64 number) {
    u8 marker = (u8)take_number(told, 1);
    if (marker != 0xff) {
        put_number(laid, number == 0 ? 0 : marker % number);
        told->is_short |= number == 0;
        return;
    }
    u8 flags = (u8)take_number(told, 1);
    u8 head[8] = {0xff, flags & SIGNS ? 1 : 0, flags & WRITABLE ? 1 : 0, flags & EXECUTABLE ? 1 : 0};
    put(laid, head, sizeof head);
    const u8 *keys = take(told, 2 * sizeof(Key));
    put(laid, keys, 2 * sizeof(Key));
    put_number(laid, take_number(told, 8));
    u64 len = take_number(told, 2);
    put_number(laid, len);
    const u8 *data = take(told, len);
    laid->has_data[number] = true;
    laid->data_at[number] = laid->len;
    put(laid, data, told->is_short ? 0 : len);
    put(laid, NULL, GROWTH + (8 - len % 8) % 8 + 8);
}

static u8 *lay(Told *told, Laid *laid) {
    static u8 room[ROOM];
    *laid = (Laid){.bytes = room};
    const u8 *program = take(told, sizeof(Key));
    host.clock.unix_timestamp = (i64)take_number(told, 8);
    host.clock.slot = take_number(told, 8);
    host.rent.lamports_per_byte = take_number(told, 8);
    host.rent.exemption_threshold_bits = take_number(told, 8);
    u64 count = take_number(told, 1) % (ACCOUNTS_TOLD_MAX + 1);
    put_number(laid, count);
    for (u64 i = 0; i < count && !told->is_short; i++) {
        lay_account(laid, told, i);
    }
    u64 len = take_number(told, 2);
    const u8 *data = take(told, len);
    if (told->is_short) {
        return NULL;
    }
    put_number(laid, len);
    put(laid, data, len);
    put(laid, program, sizeof(Key));
    u8 *exact = malloc(laid->len);
    if (exact) {
        memcpy(exact, room, laid->len);
    }
    return exact;
}

/* What the oracle compares. */
typedef struct {
    const Account *ledger;
    Ledger before;
    const TokenAccount *vault;
    u64 held;
    bool is_sound;
} Money;

/* Whether every ledger's limits are such as `initialize` and `apply_config` let in. */
static bool is_lawful(const Input *input) {
    for (u64 i = 0; i < input->account_count; i++) {
        const Account *account = &input->accounts[i];
        const Ledger *ledger = (const Ledger *)account->data;
        if (account->data_len == sizeof(Ledger) && key_equal(account->owner, input->program)
            && ledger->tag == LEDGER_TAG && limits_ok(&ledger->limits) != SUCCESS) {
            return false;
        }
    }
    return true;
}

static u64 owed(const Ledger *ledger) {
    return ledger->total_deposited - ledger->total_claimed - ledger->total_exited
        - ledger->total_withdrawn;
}

static bool is_backed(const Ledger *ledger, const Root *root) {
    return (Wide)root->total + root->total_exitable + ledger->reserve + ledger->total_withdrawn
        <= ledger->total_deposited;
}

/* Invariants 3 and 4 of docs/program.md: no root promises more than came in, no more was paid than is
 * promised, and a pending root promises what was paid. */
static bool is_solvent(const Ledger *ledger) {
    const Root *active = &ledger->active, *pending = &ledger->pending;
    bool is_none = pending->epoch == 0;
    return is_backed(ledger, active) && (is_none || is_backed(ledger, pending))
        && (is_none || pending->total >= active->total)
        && (is_none || pending->total_exitable >= ledger->total_exited)
        && ledger->advance <= ledger->reserve
        && ledger->total_claimed <= (Wide)active->total + ledger->advance
        && ledger->total_exited <= active->total_exitable;
}

/* Whether a record's sums can be parts of its ledger's. */
static bool is_part(const Ledger *ledger, const Input *input, const Account *account) {
    if (!key_equal(account->owner, input->program) || account->data_len != sizeof(ClaimRecord)) {
        return true;
    }
    const ClaimRecord *record = (const ClaimRecord *)account->data;
    return above(record->claimed, record->covered) <= ledger->advance
        && record->claimed <= ledger->total_claimed;
}

/* The one ledger among the accounts, with its vault, if they could be so on a chain. */
static Money money_of(const Input *input) {
    Money money = {0};
    for (u64 i = 0; i < input->account_count; i++) {
        const Account *account = &input->accounts[i];
        if (money.ledger == NULL && !account->is_signer && account->data_len == sizeof(Ledger)
            && key_equal(account->owner, input->program)
            && ((const Ledger *)account->data)->tag == LEDGER_TAG) {
            money.ledger = account;
            memcpy(&money.before, account->data, sizeof(Ledger));
        }
    }
    for (u64 i = 0; money.ledger && i < input->account_count; i++) {
        const Account *account = &input->accounts[i];
        if (key_equal(account->key, &money.before.vault) && account->data_len >= sizeof(TokenAccount)
            && key_equal(account->owner, &money.before.token_program)
            && key_equal(&token_bytes(account)->owner, money.ledger->key)) {
            money.vault = token_bytes(account);
            money.held = money.vault->amount;
        }
    }
    money.is_sound = money.vault && is_solvent(&money.before) && money.held >= owed(&money.before);
    for (u64 i = 0; i < input->account_count; i++) {
        money.is_sound = money.is_sound && is_part(&money.before, input, &input->accounts[i]);
    }
    return money;
}

static void check(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "oracle: %s\n", what);
        abort();
    }
}

static void look(const Money *money) {
    if (money->ledger == NULL || money->ledger->data_len != sizeof(Ledger)) {
        return;
    }
    const Ledger *after = (const Ledger *)money->ledger->data, *before = &money->before;
    check(limits_ok(&after->limits) == SUCCESS, "unlawful limits");
    check(after->total_deposited >= before->total_deposited, "total_deposited fell");
    check(after->total_claimed >= before->total_claimed, "total_claimed fell");
    check(after->total_exited >= before->total_exited, "total_exited fell");
    check(after->total_withdrawn >= before->total_withdrawn, "total_withdrawn fell");
    check(after->last_epoch >= before->last_epoch, "last_epoch fell");
    if (money->is_sound) {
        check(is_solvent(after), "more is promised than came in, or more was paid than promised");
        check(money->vault->amount >= owed(after), "the vault holds less than is owed");
    }
}

static bool is_refused;

static u64 call_and_note(const Instruction *call, const Account *accounts, u64 account_count,
                         const Signer *signers, u64 signer_count) {
    u64 error = call_other_program(call, accounts, account_count, signers, signer_count);
    is_refused |= error != SUCCESS;
    return error;
}

/* What the runtime forbids: other data in an account that may not be written. */
static bool is_allowed(const Input *input, const Laid *laid, const u8 *before, const u8 *raw) {
    for (u64 i = 0; i < input->account_count; i++) {
        const Account *account = &input->accounts[i];
        u64 at = (u64)(account->data - raw);
        bool is_same = memcmp(account->data, before + at, account->data_len) == 0;
        if (i < ACCOUNTS_TOLD_MAX && laid->has_data[i] && !account->is_writable && !is_same) {
            return false;
        }
    }
    return true;
}

/* Call the program with a laid out input, look at what came of it, and tell. */
static void call(u8 *raw, const Laid *laid, const Input *input) {
    static u8 before[ROOM];
    memcpy(before, raw, laid->len);
    host.known_count = 0;
    host.program = input->program;
    for (u64 i = 0; i < input->account_count; i++) {
        host.known[host.known_count++] = input->accounts[i].key;
    }
    Money money = money_of(input);
    is_refused = false;
    begin_call();
    u64 result = entrypoint(raw);
    is_refused |= result == SUCCESS && !is_allowed(input, laid, before, raw);
    if (is_refused) {
        puts("refused");
        return;
    }
    if (result == SUCCESS) {
        look(&money);
    }
    printf("%llu\n", (unsigned long long)result);
}

static void run(const u8 *bytes, u64 len) {
    Told told = {bytes, len, false};
    Laid laid;
    static Input input;
    u8 *raw = len <= SHORT_INPUT_MAX ? lay(&told, &laid) : NULL;
    if (raw == NULL) {
        return;
    }
    input.account_count = 0;
    /* The program refuses an input with more accounts before it reads any. */
    if (load_u64(raw) <= ACCOUNTS_MAX && read_input(raw, &input) != SUCCESS) {
        fprintf(stderr, "a badly laid out input\n");
        abort();
    }
    if (is_lawful(&input)) {
        call(raw, &laid, &input);
    } else {
        puts("unlawful");
    }
    free(raw);
}

#ifdef __AFL_COMPILER
__AFL_FUZZ_INIT();

int main(void) {
    host.other_program = call_and_note;
    __AFL_INIT();
    const u8 *bytes = __AFL_FUZZ_TESTCASE_BUF;
    while (__AFL_LOOP(20000)) {
        run(bytes, (u64)__AFL_FUZZ_TESTCASE_LEN);
    }
    return 0;
}
#else
/* Inputs one after the other, each after its length (u64). */
int main(void) {
    static u8 bytes[SHORT_INPUT_MAX];
    u64 len;
    host.other_program = call_and_note;
    while (fread(&len, sizeof len, 1, stdin) == 1) {
        if (len > sizeof bytes || fread(bytes, 1, len, stdin) != len) {
            fprintf(stderr, "the inputs are cut off\n");
            return 2;
        }
        run(bytes, len);
    }
    return 0;
}
#endif
