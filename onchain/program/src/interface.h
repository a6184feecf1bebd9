/* Made from onchain/program/{layout,instructions,refusals}.py by
 * `python -m onchain.program.generate`: change them, not this file. */
#ifndef HYPER_INTERFACE_H
#define HYPER_INTERFACE_H

/* Constants. */
#define MIN_FAST_DELAY 3600 /* least seconds between the guardian's approval and activation */
#define MIN_SLOW_DELAY 86400 /* least seconds until a root activates that nobody approved */
#define MIN_CONFIG_DELAY 172800 /* least seconds until a proposal can be applied */
#define MAX_CONFIG_DELAY 2592000 /* most seconds of the same: tightening cannot lock all out */
#define MAX_EPOCH_INTERVAL 604800 /* most seconds between two roots, for the same reason */
#define MAX_WINDOW 2592000 /* longest window of the breakers, for the same reason */
#define GUARDIAN_DELAY 604800 /* least seconds until a new guardian: the old one cannot cancel it */
#define PROPOSAL_LIFE 1209600 /* seconds after its moment in which a proposal can be applied */
#define MAX_EXIT_AFTER 2592000 /* most seconds without a root before depositors may leave */
#define EXIT_SETTLE 600 /* seconds by which a root must follow a request to exit: beyond finality */
#define GUARDIAN_PAUSE 259200 /* seconds after which a pause of the guardian lapses */
#define GUARDIAN_REST 604800 /* seconds after that in which the guardian may not pause again */
#define CLAIM_PAUSE 1209600 /* most seconds that claims are paused, whoever paused them */
#define MIN_WINDOW_RATE 1000 /* a window's limit is at least this many base units a second */
#define CAP_INTERVALS_MAX 7 /* missed intervals for which the cap of an epoch adds up */
#define SLOTS_PER_SECOND_SLOW 2 /* slots a second that must pass too, unless approved: 0.8 / 0.4 s */
#define MAX_PROOF 32 /* hashes of a proof: as many as an index of 32 bits needs */

/* Root: A tree of leaves, and when it was published. */
#define ROOT_SIZE 112
#define ROOT_EPOCH 0 /* u64: number of the epoch; 0: there is none */
#define ROOT_ROOT 8 /* hash: root of the tree of leaves */
#define ROOT_DATA_HASH 40 /* hash: sha256 of the leaf file */
#define ROOT_TOTAL 72 /* u64: sum of all lifetime leaves */
#define ROOT_TOTAL_EXITABLE 80 /* u64: sum of all exit leaves */
#define ROOT_PUBLISHED_AT 88 /* i64: when it was published */
#define ROOT_ACTIVE_AT 96 /* i64: when it became active; of a pending root: when it may */
#define ROOT_LEAF_COUNT 104 /* u32: leaves of the tree */
#define ROOT_RESERVED 108 /* u8*4: zero */

/* Limits: What the administrator chose, within the program's constants. */
#define LIMITS_SIZE 72
#define LIMITS_MAX_EPOCH_INCREASE 0 /* u64: most that the total may rise in one interval */
#define LIMITS_WINDOW_LIMIT 8 /* u64: most that claims and exits take out in a window */
#define LIMITS_ADVANCE_CAP 16 /* u64: most that vouchers may pay beyond active roots, in all */
#define LIMITS_WALLET_ADVANCE_CAP 24 /* u64: the same for one wallet */
#define LIMITS_VOUCHER_LIMIT 32 /* u64: most that vouchers take out in a window */
#define LIMITS_MIN_DEPOSIT 40 /* u64: smallest deposit */
#define LIMITS_MIN_EPOCH_INTERVAL 48 /* u32: least seconds between two published roots */
#define LIMITS_SLOW_DELAY 52 /* u32: seconds until a root activates that nobody approved */
#define LIMITS_FAST_DELAY 56 /* u32: seconds from the guardian's approval to activation */
#define LIMITS_WINDOW_SECS 60 /* u32: length of the window of both breakers */
#define LIMITS_EXIT_AFTER 64 /* u32: seconds after which a door to exit opens */
#define LIMITS_CONFIG_DELAY 68 /* u32: seconds until a proposal can be applied */

/* Ledger: One market: its mint, vault, roles, roots, limits, and what has come in and gone out. */
#define LEDGER_SIZE 1024
#define LEDGER_TAG 0x205fb0b4d515292bULL
#define LEDGER_BASE 8 /* pubkey: the key that signed its making; part of its address */
#define LEDGER_CLUSTER_TAG 40 /* hash: genesis hash of the cluster, in each voucher */
#define LEDGER_MINT 72 /* pubkey: the token */
#define LEDGER_VAULT 104 /* pubkey: the ledger's associated token account: all money */
#define LEDGER_TOKEN_PROGRAM 136 /* pubkey: SPL Token or Token-2022 */
#define LEDGER_ADMIN 168 /* pubkey: proposes; tightens; pauses; cancels and revokes roots */
#define LEDGER_PUBLISHER 200 /* pubkey: publishes roots, nothing else */
#define LEDGER_GUARDIAN 232 /* pubkey: approves, cancels, revokes; pauses; cancels proposals */
#define LEDGER_VOUCHER_KEY 264 /* pubkey: signs vouchers off the chain; zero: vouchers are off */
#define LEDGER_TOTAL_DEPOSITED 296 /* u64: all deposits, the reserve's included; never falls */
#define LEDGER_TOTAL_CLAIMED 304 /* u64: paid by claims and vouchers; never falls */
#define LEDGER_TOTAL_EXITED 312 /* u64: paid to depositors who left; never falls */
#define LEDGER_TOTAL_WITHDRAWN 320 /* u64: taken back from the reserve; never falls */
#define LEDGER_RESERVE 328 /* u64: the operator's money behind vouchers */
#define LEDGER_ADVANCE 336 /* u64: sum over wallets of what was paid beyond its highest leaf */
#define LEDGER_LAST_EPOCH 344 /* u64: highest number published; a cancelled one stays used */
#define LEDGER_ACTIVE 352 /* Root: the root that claims are checked against */
#define LEDGER_PREVIOUS 464 /* Root: the one before it, still good for claims; epoch 0: none */
#define LEDGER_PENDING 576 /* Root: published, not active yet; epoch 0: none */
#define LEDGER_PENDING_MIN_SLOT 688 /* u64: slot that must be reached too, unless approved */
#define LEDGER_LIMITS 696 /* Limits: see Limits */
#define LEDGER_FLOW_LEVEL 768 /* u64: level of the breaker of claims and exits */
#define LEDGER_FLOW_UPDATED_AT 776 /* i64: when it was computed; never falls */
#define LEDGER_VOUCHER_FLOW_LEVEL 784 /* u64: level of the breaker of vouchers */
#define LEDGER_VOUCHER_FLOW_UPDATED_AT 792 /* i64: when it was computed; never falls */
#define LEDGER_PAUSED_UNTIL 800 /* i64*4: deposit, claim, publish, redeem: paused before this */
#define LEDGER_CLAIM_PAUSED_AT 832 /* i64: start of the latest pause of claims; 0: never */
#define LEDGER_GUARDIAN_PAUSED_AT 840 /* i64: start of the guardian's latest pause; 0: none counts */
#define LEDGER_PROPOSAL_NUMBER 848 /* u64: proposals made so far: the latest one's number */
#define LEDGER_PROPOSAL_DUE_AT 856 /* i64: when the proposal can be applied */
#define LEDGER_PROPOSAL_KEY 864 /* pubkey: its key, zero where its kind has none */
#define LEDGER_PROPOSAL_AMOUNT 896 /* u64: its amount */
#define LEDGER_PROPOSAL_LIMITS 904 /* Limits: its limits */
#define LEDGER_PROPOSAL_KIND 976 /* u8: its kind, 0: there is none */
#define LEDGER_PROPOSAL_FLAGS 977 /* u8: its flags of pause to lift */
#define LEDGER_REVOCABLE 978 /* u8: 1: the active root can be revoked */
#define LEDGER_APPROVED 979 /* u8: 1: the guardian approved the pending root */
#define LEDGER_BUMP 980 /* u8: bump of the ledger's address */
#define LEDGER_VERSION 981 /* u8: 1 */
#define LEDGER_DECIMALS 982 /* u8: decimals of the mint */
#define LEDGER_PADDING 983 /* u8: zero */
#define LEDGER_KEY_EPOCH 984 /* u32: vouchers of an older one are void */
#define LEDGER_RESERVED 988 /* u8*36: zero */

/* ClaimRecord: What one wallet was paid, for ever. Never closed: closing it would pay twice. */
#define CLAIM_RECORD_SIZE 32
#define CLAIM_RECORD_TAG 0x07603e410900e539ULL
#define CLAIM_RECORD_CLAIMED 8 /* u64: paid so far, by claims and vouchers */
#define CLAIM_RECORD_COVERED 16 /* u64: highest lifetime leaf proven so far */
#define CLAIM_RECORD_BUMP 24 /* u8: bump of the record's address */
#define CLAIM_RECORD_ATA_BUMP 25 /* u8: bump of the wallet's token account; 0: not looked for yet */
#define CLAIM_RECORD_RESERVED 26 /* u8*6: zero */

/* DepositRecord: What one owner brought in and took out again. The ledger's own is the reserve's. */
#define DEPOSIT_RECORD_SIZE 112
#define DEPOSIT_RECORD_TAG 0xa7bd31fb1f0ae853ULL
#define DEPOSIT_RECORD_LEDGER 8 /* pubkey: the ledger */
#define DEPOSIT_RECORD_OWNER 40 /* pubkey: whose credit it is */
#define DEPOSIT_RECORD_DEPOSITED 72 /* u64: all deposits; never falls */
#define DEPOSIT_RECORD_EXITED 80 /* u64: paid back by exits; never falls */
#define DEPOSIT_RECORD_LAST_SLOT 88 /* u64: slot of the latest deposit */
#define DEPOSIT_RECORD_EXIT_REQUESTED_AT 96 /* i64: when the owner asked to leave; 0: not asked */
#define DEPOSIT_RECORD_BUMP 104 /* u8: bump of the record's address */
#define DEPOSIT_RECORD_RESERVED 105 /* u8*7: zero */

/* Instructions: discriminator, accounts, bytes of arguments (a proof: its count). */
#define IX_INITIALIZE 0xed9b980d1f6dafafULL
#define IX_INITIALIZE_ACCOUNTS 7
#define IX_INITIALIZE_ARGS 232
#define IX_DEPOSIT 0xb6f2e15289c623f2ULL
#define IX_DEPOSIT_ACCOUNTS 10
#define IX_DEPOSIT_ARGS 8
#define IX_PUBLISH_ROOT 0x195764b4d423bd32ULL
#define IX_PUBLISH_ROOT_ACCOUNTS 3
#define IX_PUBLISH_ROOT_ARGS 92
#define IX_APPROVE_ROOT 0x17b8bcdac1af98a7ULL
#define IX_APPROVE_ROOT_ACCOUNTS 2
#define IX_APPROVE_ROOT_ARGS 40
#define IX_ACTIVATE_ROOT 0x7dbcaed93dad9643ULL
#define IX_ACTIVATE_ROOT_ACCOUNTS 1
#define IX_ACTIVATE_ROOT_ARGS 0
#define IX_CANCEL_ROOT 0x3c5f1d8e5a1a3abcULL
#define IX_CANCEL_ROOT_ACCOUNTS 2
#define IX_CANCEL_ROOT_ARGS 8
#define IX_REVOKE_ROOT 0xd1569b1c199ee031ULL
#define IX_REVOKE_ROOT_ACCOUNTS 2
#define IX_REVOKE_ROOT_ARGS 8
#define IX_CLAIM 0xd26c9fd5c1d6c63eULL
#define IX_CLAIM_ACCOUNTS 9
#define IX_CLAIM_ARGS 24
#define IX_CLAIM_TO 0xa5f20442c3e1226fULL
#define IX_CLAIM_TO_ACCOUNTS 9
#define IX_CLAIM_TO_ARGS 24
#define IX_COVER 0x8d6b7eee784c13f3ULL
#define IX_COVER_ACCOUNTS 3
#define IX_COVER_ARGS 24
#define IX_REDEEM 0xe161c44695560cb8ULL
#define IX_REDEEM_ACCOUNTS 10
#define IX_REDEEM_ARGS 16
#define IX_REDEEM_TO 0xd7722c9b40f675d1ULL
#define IX_REDEEM_TO_ACCOUNTS 10
#define IX_REDEEM_TO_ARGS 16
#define IX_EXIT 0xa0db057e470c20eaULL
#define IX_EXIT_ACCOUNTS 7
#define IX_EXIT_ARGS 24
#define IX_REQUEST_EXIT 0x9787da8a4acbba79ULL
#define IX_REQUEST_EXIT_ACCOUNTS 3
#define IX_REQUEST_EXIT_ARGS 0
#define IX_CANCEL_EXIT 0x4b31103c32fe3b20ULL
#define IX_CANCEL_EXIT_ACCOUNTS 3
#define IX_CANCEL_EXIT_ARGS 0
#define IX_SET_PAUSED 0xdaa6e1b0c07d3c5bULL
#define IX_SET_PAUSED_ACCOUNTS 2
#define IX_SET_PAUSED_ARGS 1
#define IX_TIGHTEN_LIMITS 0x908f21f296a7ff40ULL
#define IX_TIGHTEN_LIMITS_ACCOUNTS 2
#define IX_TIGHTEN_LIMITS_ARGS 72
#define IX_VOID_VOUCHERS 0x3324688c33b55bd0ULL
#define IX_VOID_VOUCHERS_ACCOUNTS 2
#define IX_VOID_VOUCHERS_ARGS 4
#define IX_PROPOSE_CONFIG 0xa09981eca0eef7a3ULL
#define IX_PROPOSE_CONFIG_ACCOUNTS 2
#define IX_PROPOSE_CONFIG_ARGS 114
#define IX_APPLY_CONFIG 0xf969963308352a79ULL
#define IX_APPLY_CONFIG_ACCOUNTS 1
#define IX_APPLY_CONFIG_ARGS 0
#define IX_ACCEPT_ADMIN 0xaa0db5745a2d2a70ULL
#define IX_ACCEPT_ADMIN_ACCOUNTS 2
#define IX_ACCEPT_ADMIN_ARGS 0
#define IX_SWEEP_EXCESS 0x06e97e01b6db4affULL
#define IX_SWEEP_EXCESS_ACCOUNTS 5
#define IX_SWEEP_EXCESS_ARGS 0
#define IX_WITHDRAW_RESERVE 0x0ec2777205e49ea5ULL
#define IX_WITHDRAW_RESERVE_ACCOUNTS 5
#define IX_WITHDRAW_RESERVE_ARGS 0
#define IX_CANCEL_CONFIG 0x0de36cb34bcf7c5bULL
#define IX_CANCEL_CONFIG_ACCOUNTS 2
#define IX_CANCEL_CONFIG_ARGS 8

/* Events: discriminator. */
#define EVENT_ROOT_PUBLISHED 0xcb7a418c8e0eeae7ULL
#define EVENT_ROOT_APPROVED 0x6533e04637c4e8f7ULL
#define EVENT_ROOT_ACTIVATED 0x13951b8336ec3b18ULL
#define EVENT_ROOT_CANCELLED 0xee721a56ba9c989cULL
#define EVENT_ROOT_REVOKED 0x2df42c96bc737ea1ULL
#define EVENT_DEPOSITED 0x396423a12d1a8d6fULL
#define EVENT_CLAIMED 0x21f8966c487bc0d9ULL
#define EVENT_REDEEMED 0x266ba51f47b71d0eULL
#define EVENT_EXITED 0xf33230c6b86b61dbULL
#define EVENT_EXIT_ASKED 0x64cf70ac252c2737ULL
#define EVENT_PAUSED_SET 0x424451e99c7f7dabULL
#define EVENT_LIMITS_TIGHTENED 0x852a4a59549486dfULL
#define EVENT_VOUCHERS_VOIDED 0xd300d1a1a806523fULL
#define EVENT_CONFIG_PROPOSED 0xc042a12d81172294ULL
#define EVENT_CONFIG_APPLIED 0x0db87d71cd5a65c1ULL
#define EVENT_CONFIG_CANCELLED 0xf4a8df9d4c07e6e6ULL

/* Flags of pause, kinds of proposals. */
#define FLAG_DEPOSIT 1
#define FLAG_CLAIM 2
#define FLAG_PUBLISH 4
#define FLAG_REDEEM 8
#define PROPOSAL_LIMITS 1
#define PROPOSAL_PUBLISHER 2
#define PROPOSAL_GUARDIAN 3
#define PROPOSAL_VOUCHER 4
#define PROPOSAL_UNPAUSE 5
#define PROPOSAL_ADMIN 6
#define PROPOSAL_SWEEP 7
#define PROPOSAL_RESERVE 8

/* Errors. */
enum {
    ERR_UNKNOWN_INSTRUCTION = 6000, /* the first 8 bytes name no instruction */
    ERR_ACCOUNT_COUNT = 6001, /* too few accounts, or more than the program takes */
    ERR_BAD_ARGS = 6002, /* the arguments have the wrong length or a value out of range */
    ERR_MISSING_SIGNER = 6003, /* an account that must sign has not signed */
    ERR_UNAUTHORIZED = 6004, /* the signer does not hold that role */
    ERR_INVALID_LEDGER = 6005, /* not a ledger of this program */
    ERR_INVALID_RECORD = 6006, /* not the claim or deposit record of that ledger and wallet */
    ERR_ALREADY_INITIALIZED = 6007, /* that ledger exists */
    ERR_WRONG_TOKEN_PROGRAM = 6008, /* not the token program of the ledger */
    ERR_WRONG_MINT = 6009, /* not the mint of the ledger, or not a mint */
    ERR_MINT_FREEZABLE = 6010, /* the mint has a freeze authority */
    ERR_MINT_EXTENSION = 6011, /* the mint has an extension other than metadata */
    ERR_WRONG_VAULT = 6012, /* not the vault of the ledger */
    ERR_INVALID_TOKEN_ACCOUNT = 6013, /* not an initialized token account of that program */
    ERR_WRONG_TOKEN_OWNER = 6014, /* the token account belongs to somebody else */
    ERR_WRONG_DESTINATION = 6015, /* the money goes to the wallet's associated token account only */
    ERR_UNSUPPORTED_RENT = 6016, /* the cluster's rent has a threshold that the program does not know */
    ERR_ROLE_CONFLICT = 6017, /* a role is zero, or two roles have the same key */
    ERR_BAD_LIMITS = 6018, /* limits outside what the program allows */
    ERR_NOT_TIGHTENING = 6019, /* only stricter limits take effect at once: propose the others */
    ERR_PAUSED = 6020, /* paused: see `paused_until` */
    ERR_PAUSE_SPENT = 6021, /* this pause may not begin again so soon */
    ERR_BELOW_MINIMUM = 6022, /* smaller than the smallest deposit */
    ERR_OVERFLOW = 6023, /* a sum does not fit into 64 bits */
    ERR_TRANSFER_MISMATCH = 6024, /* the vault did not receive what was sent */
    ERR_ROOT_PENDING = 6025, /* another root is pending */
    ERR_NO_PENDING_ROOT = 6026, /* no such root is pending */
    ERR_NOT_DUE = 6027, /* its moment has not come */
    ERR_BAD_EPOCH = 6028, /* the number of an epoch is the last published one plus one */
    ERR_TOO_SOON = 6029, /* the interval between two roots is not over */
    ERR_EMPTY_ROOT = 6030, /* a root has at least one leaf and is not zero */
    ERR_TOTAL_DECREASED = 6031, /* a total is below what was promised or paid before */
    ERR_EXCEEDS_EPOCH_CAP = 6032, /* the total rises by more than the cap of an epoch */
    ERR_INSOLVENT = 6033, /* promised more than was deposited, or the vault lacks money */
    ERR_NOT_REVOCABLE = 6034, /* that epoch is not active, or was restored by a revocation itself */
    ERR_STALE_EPOCH = 6035, /* that root is not active any more, or not yet: fetch a new proof */
    ERR_INVALID_PROOF = 6036, /* the proof does not lead to the root */
    ERR_NOTHING_TO_CLAIM = 6037, /* everything proven by that leaf or voucher is paid */
    ERR_EXCEEDS_TOTAL = 6038, /* more than the sum of all leaves would be paid */
    ERR_RATE_LIMITED = 6039, /* the breaker of this window is full: try again later */
    ERR_VOUCHERS_OFF = 6040, /* the ledger has no voucher key */
    ERR_VOUCHER_EXPIRED = 6041, /* the voucher has expired */
    ERR_BAD_VOUCHER = 6042, /* the instruction before is not the check of exactly this voucher */
    ERR_ADVANCE_EXHAUSTED = 6043, /* no more is paid beyond active roots */
    ERR_RESERVE_IN_USE = 6044, /* the reserve backs vouchers that no root covers yet */
    ERR_EXIT_CLOSED = 6045, /* no door to exit is open */
    ERR_EXIT_REQUESTED = 6046, /* a request to exit stands already */
    ERR_NO_EXIT_REQUEST = 6047, /* there is no request to exit */
    ERR_NOTHING_TO_EXIT = 6048, /* everything exitable is paid */
    ERR_PROPOSAL_PENDING = 6049, /* another proposal is pending */
    ERR_NO_PROPOSAL = 6050, /* no such proposal is pending */
    ERR_PROPOSAL_EXPIRED = 6051, /* the proposal was not applied in time: make it anew */
    ERR_NOT_EXCESS = 6052, /* the vault holds less above what it owes */
    ERR_KEY_EPOCH_DECREASED = 6053, /* the epoch of voucher keys rises by one at a time */
};

#endif
