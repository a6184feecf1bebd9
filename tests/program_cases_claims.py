"""Cases of claim, claim_to and cover: epochs, proofs, what is paid, the breaker, the bound."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any, Final

from onchain.merkle import hash_node
from tests.program_cases import BASES, RUNTIME, Base, Then, Told, no, ok, table
from tests.program_cases_doors import (
    any_destinations,
    doors,
    for_ledger,
    missing,
    openings,
    own_destinations,
    records,
    token_programs,
)
from tests.program_cases_roots import MOST, activated, due, promoted, with_pending
from tests.program_changes import (
    Up,
    account,
    args,
    fresh,
    leaf,
    ledger,
    record,
    token,
)
from tests.program_scenes import (
    LEDGER,
    LIFETIME,
    MINT,
    NOW,
    STRANGER,
    WALLET,
    Change,
    Scene,
    bare_scene,
    claim_values,
    no_root,
    record_of,
    tree_of,
)
from tests.program_tokens import SPL_TOKEN, associated_bump
from tests.program_trees import EARNINGS, Tree, leaf_hash
from tests.program_world import key_of

ATA_BUMP: Final = associated_bump(WALLET, SPL_TOKEN, MINT)
#: Place of the wallet's leaf in each tree.
INDEX: Final = tree_of(7).index(EARNINGS, bytes(WALLET))
#: Level of the breaker now, before anything is paid: 4,000,000 less what 100 seconds let out.
LEVEL: Final = 4_000_000 - (10_000 * 100 + 999 * 100 // 1_000)


def claim_args(epoch: int) -> dict[str, Any]:
    tree = tree_of(epoch)
    return {
        "epoch": epoch,
        "index": INDEX,
        "lifetime": LIFETIME[epoch],
        "proof": tree.proof(INDEX),
    }


def of_epoch(epoch: int) -> Change:
    """The wallet brings its leaf of that epoch."""
    return args(**claim_args(epoch))


def paid(pay: int, *, level: int = LEVEL, covered: int = 9_000_000) -> Then:
    """The base outcome of a claim that pays so much."""
    return {
        "ledger.total_claimed": Up(pay),
        "ledger.flow_level": level + pay,
        "ledger.flow_updated_at": NOW,
        "claim_record.claimed": Up(pay),
        "claim_record.covered": covered,
        "tokens.vault": Up(-pay),
        "tokens.destination": Up(pay),
    }


def _claiming(name: str) -> Scene:
    scene = bare_scene(name, claim_args(7))
    scene.claim_record = claim_values(6_000_000, 7_000_000)
    scene.tokens["destination"] = {"owner": WALLET, "amount": 123}
    return scene


def _claim_events(scene: Scene, before: dict[str, Any], after: dict[str, Any]) -> Any:
    claimed = after["claim_record.claimed"]
    told = {
        "wallet": bytes(scene.keys["wallet"]),
        "claimed": claimed,
        "amount": claimed - before.get("claim_record.claimed", 0),
        "covered": after["claim_record.covered"],
        "epoch": scene.args["epoch"],
    }
    return [*activated(before, after), ("Claimed", told)]


for _name in ("claim", "claim_to"):
    BASES[_name] = Base(lambda name=_name: _claiming(name), paid(3_000_000), _claim_events)  # type: ignore[misc]


def _covering() -> Scene:
    scene = bare_scene("cover", claim_args(7))
    scene.claim_record = claim_values(10_000_000, 7_000_000)
    return scene


_COVERED: Final = {"claim_record.covered": 9_000_000, "ledger.advance": 3_000_000}
BASES["cover"] = Base(_covering, _COVERED, _claim_events)


def paused_alone(index: int) -> tuple[Change, Change, Change]:
    """This flag a second before its end; at its end; all the others paused."""
    one = [NOW + 1 if at == index else 0 for at in range(4)]
    end = [NOW if at == index else 0 for at in range(4)]
    others = [NOW if at == index else NOW + 1 for at in range(4)]
    return tuple(ledger(paused_until=tuple(each)) for each in (one, end, others))  # type: ignore[return-value]


def pauses(index: int) -> Iterator[Told]:
    still, ended, others = paused_alone(index)
    yield no("Paused", "a second before the pause ends", still)
    yield ok("at the second at which the pause ends", ended)
    yield ok("while all else is paused", others)


def _epochs(previous: Then, pending: Then) -> Iterator[Told]:
    yield ok("the epoch before", of_epoch(6), then=previous)
    yield no("StaleEpoch", "two epochs before", args(epoch=5))
    yield no("StaleEpoch", "an epoch that is pending", of_epoch(8), with_pending)
    yield no("StaleEpoch", "an epoch that nobody has published", args(epoch=9))
    yield no("InvalidProof", "the epoch before with the leaf of this one", args(epoch=6))
    yield no(
        "StaleEpoch",
        "epoch 0 where there is none before",
        ledger(no_root("previous")),
        args(epoch=0),
    )
    yield no(
        "StaleEpoch",
        "epoch 0 before there was a root",
        ledger({**no_root("active"), **no_root("previous")}),
        args(epoch=0),
    )
    yield ok("an epoch that is due", due, of_epoch(8), then={**promoted(), **pending})
    yield ok("the epoch before one that is due", due, then=promoted())
    yield no("StaleEpoch", "two before, where one is due", due, of_epoch(6))
    held = ledger(paused_until=(0, 0, NOW + 1, 0))
    yield no("StaleEpoch", "an epoch that is due while roots are paused", due, held, of_epoch(8))
    yield ok("the active epoch while a due one is held back", due, held)


def _rooted(tree: Tree, index: int) -> tuple[Change, Change]:
    """That tree is active; the proof of that leaf."""
    root = ledger({"active.root": tree.root, "active.leaf_count": tree.count})
    return root, args(index=index, proof=tree.proof(index))


def proofs(kind: int, whose: bytes, amount: int, amount_name: str) -> Iterator[Told]:
    """Every way of a proof not to fit; `whose` leaf is at `index` of epoch 7's tree."""
    tree = tree_of(7)
    index = tree.index(kind, whose)
    proof = tree.proof(index)
    error = "InvalidProof"
    yield no(error, "no proof", args(proof=[]))
    yield no(error, "a proof without its last hash", args(proof=proof[:-1]))
    yield no(error, "a proof without its first hash", args(proof=proof[1:]))
    yield no(error, "a proof with one hash more", args(proof=[*proof, bytes(32)]))
    yield no(error, "a proof of 32 hashes", args(proof=(proof * 32)[:32]))
    yield no("BadArgs", "a proof of 33 hashes", args(proof=(proof * 33)[:33]))
    yield no(error, "a proof in the other order", args(proof=proof[::-1]))
    for at, each in enumerate(proof):
        turned = bytes([each[0] ^ 1]) + each[1:]
        yield no(
            error,
            f"a proof with another bit in hash {at}",
            args(proof=[*proof[:at], turned, *proof[at + 1 :]]),
        )
    for other in (index ^ 1, index + 2, tree.count - 1, tree.count, tree.count + index, 2**32 - 1):
        yield no(error, f"index {other}", args(index=other))
    yield no(error, "one unit more than the leaf", args(**{amount_name: amount + 1}))
    yield no(error, "one unit less than the leaf", args(**{amount_name: amount - 1}))
    yield no(
        error,
        "a leaf of the other kind",
        *_rooted(_one(tree, index, (3 - kind, whose, amount)), index),
    )
    yield no(error, "a leaf of kind 0", *_rooted(_one(tree, index, (0, whose, amount)), index))
    stranger = _one(tree, index, (kind, bytes(STRANGER), amount))
    yield no(error, "the leaf of a stranger", *_rooted(stranger, index))
    elsewhere = Tree(bytes(key_of("another ledger")), tree.leaves)
    yield no(error, "a tree of another ledger", *_rooted(elsewhere, index))
    yield from _small_trees(kind, whose, amount)
    inner = hash_node(leaf_hash(kind, bytes(LEDGER), whose, amount), tree.levels[0][0])
    yield no(
        error,
        "the root without its last byte",
        ledger({"active.root": tree.root[:31] + bytes([tree.root[31] ^ 1])}),
    )
    yield no(error, "an inner node for a leaf", args(proof=[inner, *proof[1:]]))
    for count in (0, 1, 2, 4, 9, 16):
        yield no(error, f"a tree said to have {count} leaves", ledger({"active.leaf_count": count}))


def _one(tree: Tree, index: int, new: tuple[int, bytes, int]) -> Tree:
    return Tree(tree.ledger, (*tree.leaves[:index], new, *tree.leaves[index + 1 :]))


def _small_trees(kind: int, whose: bytes, amount: int) -> Iterator[Told]:
    alone = Tree(bytes(LEDGER), ((kind, whose, amount),))
    yield ok("the only leaf of a tree", *_rooted(alone, 0))
    yield no(
        "InvalidProof", "the only leaf, with a hash", *_rooted(alone, 0), args(proof=[bytes(32)])
    )
    for index in (1, 5):
        yield no(
            "InvalidProof", f"the only leaf, at {index}", *_rooted(alone, 0), args(index=index)
        )
    second = Tree(bytes(LEDGER), ((EARNINGS, bytes(STRANGER), 1), (kind, whose, amount)))
    shallow = (ledger({"active.root": second.root, "active.leaf_count": 1}), args(index=0))
    yield no("InvalidProof", "deeper than its tree", *shallow, args(proof=second.proof(1)))
    for count in (2, 3, 4, 5, 8, 9):
        last = Tree(
            bytes(LEDGER),
            (
                *((EARNINGS, bytes(key_of(f"n{at}")), at) for at in range(count - 1)),
                (kind, whose, amount),
            ),
        )
        yield ok(f"the last of {count} leaves", *_rooted(last, count - 1))
        yield no(
            "InvalidProof", f"beyond {count} leaves", *_rooted(last, count - 1), args(index=count)
        )
    for depth in (31, 32):
        path = [bytes([at + 1] * 32) for at in range(depth)]
        root = reduce(hash_node, path, leaf_hash(kind, bytes(LEDGER), whose, amount))
        yield ok(
            f"the first leaf of a tree of depth {depth}",
            ledger(
                {
                    "active.root": root,
                    "active.leaf_count": 2**depth - 1 if depth == 32 else 2**depth,
                }
            ),
            args(index=0, proof=path),
        )


def _amounts(name: str) -> Iterator[Told]:
    nothing = "NothingToClaim"
    yield no(nothing, "all is paid", record(claimed=9_000_000, covered=9_000_000))
    yield no(
        nothing, "more is paid than the leaf says", record(claimed=9_000_001, covered=9_000_000)
    )
    yield no(
        nothing, "more is covered than the leaf says", record(claimed=9_000_000, covered=9_000_001)
    )
    yield ok("one unit is missing", record(claimed=8_999_999, covered=9_000_000), then=paid(1))
    yield ok(
        "covered beyond the leaf, less paid",
        record(covered=9_500_000),
        then=paid(3_000_000, covered=9_500_000),
    )
    still = {"claim_record.covered": 9_000_000}
    yield ok(
        "all is paid, one unit was not covered",
        record(claimed=9_000_000, covered=8_999_999),
        alone={**still, "ledger.advance": 4_999_999},
    )
    yield ok(
        "more was paid than the leaf covers",
        record(claimed=10_000_000),
        alone={**still, "ledger.advance": 3_000_000},
    )
    yield ok(
        "a part was advanced",
        record(claimed=8_000_000),
        then={**paid(1_000_000), "ledger.advance": 4_000_000},
    )
    yield ok("paid and covered are the same", record(claimed=7_000_000), then=paid(2_000_000))
    full = ledger(flow_level=10_000_999, flow_updated_at=NOW)
    yield ok(
        "pays nothing, so a full breaker does not matter",
        full,
        record(claimed=10_000_000),
        alone={**still, "ledger.advance": 3_000_000},
    )
    found_bump = {"claim_record.ata_bump": ATA_BUMP} if name == "claim" else {}
    yield ok("the bump of the account is not known yet", record(ata_bump=0), then=found_bump)
    yield no(RUNTIME, "a vault a unit short", token("vault", amount=2_999_999))
    twice: Change = lambda scene: scene.after.append(lambda again: again.instruction())  # noqa: E731
    yield no(nothing, "twice in one transaction", twice)


def _breaker() -> Iterator[Told]:
    """window_limit is 10,000,999 in 1,000 seconds."""

    def level(amount: int, seconds: int = 0) -> Change:
        return ledger(flow_level=amount, flow_updated_at=NOW - seconds)

    yield no("RateLimited", "a full breaker", level(10_000_999))
    yield no("RateLimited", "a breaker more than full", level(10_001_000))
    yield no("RateLimited", "a breaker of 2^64 - 1", level(MOST))
    yield ok("room for one unit", level(10_000_998), then=paid(1, level=10_000_998))
    yield ok("room for a part", level(9_000_999), then=paid(1_000_000, level=9_000_999))
    yield ok("room for all but a unit", level(7_001_000), then=paid(2_999_999, level=7_001_000))
    yield ok("room for exactly all", level(7_000_999), then=paid(3_000_000, level=7_000_999))
    yield ok(
        "room for a part of what was advanced",
        level(9_500_999),
        record(claimed=8_000_000),
        then={**paid(500_000, level=9_500_999), "ledger.advance": 4_000_000},
    )
    for seconds, fall in ((1, 10_000), (2, 20_001), (999, 9_990_998)):
        yield ok(
            f"{seconds} seconds let out {fall:,}",
            level(10_000_999, seconds),
            then=paid(min(3_000_000, fall), level=10_000_999 - fall),
        )
    yield ok("a whole window lets out all", level(MOST, 1_000), then=paid(3_000_000, level=0))
    yield no("RateLimited", "a second less does not", level(MOST, 999))
    yield ok("never below nothing", level(1_000_098, 100), then=paid(3_000_000, level=0))
    yield ok("to nothing", level(1_000_099, 100), then=paid(3_000_000, level=0))
    yield ok("to one unit above nothing", level(1_000_100, 100), then=paid(3_000_000, level=1))
    yield ok(
        "where the clock went back",
        level(4_000_000, -50),
        then={**paid(3_000_000, level=4_000_000), "ledger.flow_updated_at": NOW + 50},
    )
    odd = ledger(
        {
            "limits.window_secs": 7,
            "limits.window_limit": 8_005,
            "flow_level": 8_005,
            "flow_updated_at": NOW - 6,
        }
    )
    yield ok("a limit that the window does not divide", odd, then=paid(6_861, level=8_005 - 6_861))


def _bounds() -> Iterator[Told]:
    """total_claimed + pay - advance' is at most active.total, 40,000,000."""
    yield ok("to the unit of the total", ledger(total_claimed=42_000_000))
    yield no("ExceedsTotal", "a unit beyond the total", ledger(total_claimed=42_000_001))
    yield no("ExceedsTotal", "a sum beyond 64 bits", ledger(total_claimed=MOST))
    yield no("ExceedsTotal", "a sum of just 64 bits", ledger(total_claimed=MOST - 3_000_000))
    covering = record(claimed=10_000_000)
    alone = {"claim_record.covered": 9_000_000, "ledger.advance": 3_000_000}
    yield ok(
        "nothing is paid, to the unit of the total",
        covering,
        ledger(total_claimed=43_000_000),
        alone=alone,
    )
    yield no(
        "ExceedsTotal", "nothing is paid, a unit beyond", covering, ledger(total_claimed=43_000_001)
    )
    yield no(
        "ExceedsTotal",
        "the epoch before, beyond the active total",
        of_epoch(6),
        ledger({"active.total": 16_999_999}),
    )
    yield ok(
        "the epoch before, to the active total",
        of_epoch(6),
        ledger({"active.total": 17_000_000}),
        then=paid(2_000_000, covered=8_000_000),
    )


def _new_record(name: str) -> Then:
    """All of the leaf's 9,000,000, but what the breaker holds back: 7,001,098."""
    bump = record_of("claim", WALLET)[1]
    return {
        **paid(7_001_098),
        "claim_record.bump": bump,
        "claim_record.reserved": (0,) * 6,
        "claim_record.ata_bump": ATA_BUMP if name == "claim" else 0,
    }


def _claims(name: str) -> Iterator[Told]:
    yield from pauses(1)
    yield from token_programs()
    yield from _epochs(paid(2_000_000, covered=8_000_000), paid(3_500_000, covered=9_500_000))
    yield from proofs(EARNINGS, bytes(WALLET), LIFETIME[7], "lifetime")
    yield no("InvalidProof", "another wallet with this proof", account("wallet", STRANGER))
    yield from _amounts(name)
    yield from _breaker()
    yield from _bounds()
    yield ok(
        "a leaf of 2^64 - 1, as far as there is room",
        leaf(lifetime=MOST),
        then=paid(7_001_098, covered=MOST),
    )
    yield from records("claim_record", "claim", WALLET)
    yield from openings("claim_record", "claim", WALLET, _new_record(name))
    if name == "claim":
        ledgers = for_ledger("claim", tree_of(7).index(EARNINGS, bytes(LEDGER)))
        yield from own_destinations(ledgers)
        yield no(
            "WrongDestination",
            "a new record, a second account",
            fresh,
            account("destination", key_of("second")),
        )
    else:
        yield from any_destinations()


def _covers() -> Iterator[Told]:
    yield from pauses(1)
    yield from _epochs(
        {"claim_record.covered": 8_000_000, "ledger.advance": 4_000_000},
        {"claim_record.covered": 9_500_000, "ledger.advance": 2_500_000},
    )
    yield from proofs(EARNINGS, bytes(WALLET), LIFETIME[7], "lifetime")
    yield no("NothingToClaim", "covered already", record(covered=9_000_000))
    yield no("NothingToClaim", "covered beyond the leaf", record(covered=9_000_001))
    yield ok(
        "one unit was not covered", record(covered=8_999_999), then={"ledger.advance": 4_999_999}
    )
    yield ok("nothing was advanced", record(claimed=1_000_000), then={"ledger.advance": 5_000_000})
    yield ok(
        "all that was advanced is covered",
        record(claimed=8_000_000),
        then={"ledger.advance": 4_000_000},
    )
    yield ok("to the unit of the total", ledger(total_claimed=43_000_000))
    yield no("ExceedsTotal", "a unit beyond the total", ledger(total_claimed=43_000_001))
    yield from records("claim_record", "claim", WALLET)
    yield from missing("claim_record")


CLAIMS: Final = [
    *table("claim", doors("claim"), _claims("claim")),
    *table("claim_to", doors("claim_to"), _claims("claim_to")),
    *table("cover", doors("cover"), _covers()),
]
