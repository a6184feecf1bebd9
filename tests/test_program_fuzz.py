"""Random lives of the settlement program, some thousand operations of them; longer ones by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from solders.pubkey import Pubkey

from tests.program_fuzz import LIFE, UNREACHED, Told, limits_of, live, main, run
from tests.program_mutants import Builder, sources
from tests.program_mutations import mutants_of
from tests.program_operations import Operations
from tests.program_twin import HERE, Divergence, Twin
from tests.program_world import World
from tests.settlement_model.market import ok
from tests.settlement_model.state import Ledger

SEED = 1_000


@pytest.fixture(scope="module")
def told() -> Told:
    return run(SEED, 12_000)


@pytest.mark.slow
def test_chain_and_model_agree_over_random_lives_and_everybody_is_paid(told: Told) -> None:
    assert told.operations >= 12_000
    assert told.lives * LIFE >= 10_000
    assert len(told.recovered) == told.lives


@pytest.mark.slow
def test_every_instruction_succeeds_and_every_error_comes(told: Told) -> None:
    instructions, errors = told.unreached()

    assert instructions == set()
    assert errors == {*UNREACHED}


@pytest.mark.slow
def test_false_roots_pay_a_thief_and_still_everybody_else_is_paid(told: Told) -> None:
    assert sum(each.stolen for each in told.recovered) > 0
    assert max(each.cost for each in told.recovered) > 0
    assert max(each.seconds for each in told.recovered) < 20 * 86_400


def test_the_same_seed_lives_the_same_life() -> None:
    first, second = Told(), Told()
    live(7, 300, first)
    live(7, 300, second)

    assert first.reached == second.reached
    assert first.recovered == second.recovered


def test_what_was_reached_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--operations", "200", "--seed", "3"]) == 0
    said = capsys.readouterr().out

    assert "no difference" in said
    assert "deposit ok:" in said


# ---- it would find something --------------------------------------------------------------------
@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder.of_sources(tmp_path_factory.mktemp("mutants") / "objects")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "mistake", "at"),
    [
        ("payments.c", "+ to -", "u64 claimed = record->claimed + amount;"),
        ("roots.c", "least to most", "u64 intervals = least("),
        ("exits.c", "REQUIRE off", "pending"),
        ("breaker.c", "later to sooner", "flow->updated_at = later("),
    ],
)
def test_a_mistake_in_the_program_is_found(
    builder: Builder, tmp_path: Path, file: str, mistake: str, at: str
) -> None:
    texts = sources([file])
    mutants = [m for m in mutants_of(file, texts[file]) if m.mistake == mistake and at in m.shown]
    world = World(builder.built(mutants[0], tmp_path), at=HERE)

    with pytest.raises(Divergence):
        _live_on(world, range(SEED, SEED + 6))


def _live_on(world: World, seeds: range) -> None:
    """Lives on that chain, whose program has a mistake."""
    for seed in seeds:
        twin = Twin(limits_of(seed), chain=world)
        twin.with_vouchers()
        life = Operations(twin, seed)
        for _ in range(LIFE):
            life.step()


def test_bytes_that_only_the_chain_has_otherwise_are_found() -> None:
    twin = Twin()
    ok(twin.deposit("owner 0", 500))
    ledger = twin.model.world.accounts[twin.ledger_key].data
    assert isinstance(ledger, Ledger)
    ledger.reserve = 1

    with pytest.raises(Divergence, match="reserve: model 1, chain 0"):
        twin.compare_all()
    assert twin.chain.account(Pubkey.from_bytes(twin.ledger_key)) is not None
