"""What a job means: parameters, work, outputs and references, without any kernel."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from coordinator.limits import BLOCKS_MAX, INTEGER_MAX, OUTPUT_BYTES_MAX
from coordinator.protocol.arrays import size_of
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Sample, Unverified
from coordinator.workloads.catalogue import KINDS, get
from coordinator.workloads.hashsearch import HITS_MAX, HashSearch, HashSearchParams, leading_zeros
from coordinator.workloads.montecarlo import (
    MonteCarlo,
    MonteCarloParams,
    closed_form,
    estimate,
)
from coordinator.workloads.normals import normals_of
from coordinator.workloads.philox import philox
from coordinator.workloads.raytrace import trace
from coordinator.workloads.render import Render, RenderParams
from coordinator.workloads.scenes import SCENES, scene
from hypernode.png import png_bytes

OPTION: dict[str, Any] = {
    "spot": 100.0, "strike": 100.0, "rate": 0.05, "volatility": 0.2, "maturity_years": 1.0,
    "option": "call", "paths": 4096,
}  # fmt: skip
SEARCH: dict[str, Any] = {"prefix": "00ff", "start": 0, "count": 1000, "target_bits": 8}
PICTURE: dict[str, Any] = {"width": 64, "height": 48}
LARGEST: dict[str, dict[str, Any]] = {
    "montecarlo": OPTION | {"paths": 2**30, "steps": 1024},
    "hashsearch": SEARCH | {"count": 2**36, "target_bits": 32, "start": INTEGER_MAX},
    "render": {"width": 4096, "height": 4096, "samples": 256, "scene": "spiral"},
}


def raw(params: dict[str, Any]) -> bytes:
    return json.dumps(params).encode()


def option(**changes: Any) -> MonteCarloParams:
    return MonteCarlo().decode(raw(OPTION | changes))


def all_blocks(params: MonteCarloParams) -> list[Any]:
    workload = MonteCarlo()
    return [np.stack([workload.reference(params, b)[0] for b in range(workload.blocks(params))])]


# ---- the catalogue ----------------------------------------------------------------------------


def test_the_catalogue_knows_six_kinds() -> None:
    assert KINDS == ("command", "hashsearch", "kernel", "matmul", "montecarlo", "render")
    assert all(get(kind).kind == kind for kind in KINDS)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(Refusal, match="unknown_kind"):
        get("alchemy")


@pytest.mark.parametrize(
    ("kind", "params", "named"),
    [
        ("montecarlo", OPTION | {"paths": 0}, "paths"),
        ("montecarlo", OPTION | {"paths": 2**30 + 1}, "paths"),
        ("montecarlo", OPTION | {"paths": 2**30, "steps": 4096}, "steps"),
        ("montecarlo", OPTION | {"steps": 4097}, "steps"),
        ("montecarlo", OPTION | {"option": "asian"}, "option"),
        ("montecarlo", OPTION | {"style": "barrier"}, "barrier"),
        ("montecarlo", OPTION | {"barrier": 90.0}, "barrier"),
        ("montecarlo", OPTION | {"style": "asian", "knock": "in"}, "knock"),
        ("montecarlo", OPTION | {"style": "barrier", "barrier": OPTION["spot"]}, "barrier"),
        ("montecarlo", OPTION | {"style": "barrier", "barrier": 0}, "barrier"),
        ("montecarlo", OPTION | {"spot": 0}, "spot"),
        ("montecarlo", OPTION | {"seed": 2**53}, "seed"),
        ("montecarlo", OPTION | {"stepps": 1}, "stepps"),
        ("montecarlo", {}, "spot"),
        ("hashsearch", SEARCH | {"prefix": "0"}, "prefix"),
        ("hashsearch", SEARCH | {"prefix": "00\n"}, "prefix"),
        ("hashsearch", SEARCH | {"prefix": "00" * 33}, "prefix"),
        ("hashsearch", SEARCH | {"count": 2**36 + 1}, "count"),
        ("hashsearch", SEARCH | {"count": 2**30}, "target_bits"),
        ("render", PICTURE | {"width": 4097}, "width"),
        ("render", PICTURE | {"scene": "teapot"}, "scene"),
        ("render", PICTURE | {"samples": 257}, "samples"),
        ("command", {"command": ""}, "command"),
        ("command", {"command": "a\0b"}, "command"),
        ("command", {"command": "x" * 8193}, "command"),
    ],
)
def test_a_bad_parameter_is_refused_by_its_name(
    kind: str, params: dict[str, Any], named: str
) -> None:
    with pytest.raises(Refusal, match=rf"bad_spec: .*\b{named}\b"):
        get(kind).decode(raw(params))


@pytest.mark.parametrize("params", [b"", b"[]", b"null", b"\xff", b"[" * 5000])
def test_parameters_that_are_no_object_are_refused(params: bytes) -> None:
    for kind in KINDS:
        with pytest.raises(Refusal, match="bad_spec"):
            get(kind).decode(params)


@pytest.mark.parametrize("kind", LARGEST)
def test_the_largest_job_stays_within_every_bound(kind: str) -> None:
    workload = get(kind)
    params = workload.decode(raw(LARGEST[kind]))
    size = sum(
        size_of(s.dtype, [HITS_MAX if extent is None else extent for extent in s.shape])
        for s in workload.schema(params)
    )

    assert 0 < workload.blocks(params) <= BLOCKS_MAX
    assert 0 < workload.work(params).flop <= INTEGER_MAX
    assert size <= OUTPUT_BYTES_MAX


def test_only_a_command_is_paid_by_time_and_left_unverified() -> None:
    timed = {kind for kind in KINDS if get(kind).is_timed}
    unverified = {kind for kind in KINDS if get(kind).default_policy == Unverified()}

    assert timed == unverified == {"command", "kernel"}
    assert get("command").sandbox == get("kernel").sandbox == 1
    assert all(isinstance(get(kind).default_policy, Sample) for kind in set(KINDS) - timed)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (np.zeros((1, 2), dtype=np.float32), "type float32"),
        (np.zeros((2, 1)), "shape"),
        (np.zeros(2), "shape"),
        (np.array([[np.nan, 0.0]]), "finite"),
        (np.array([[np.inf, 0.0]]), "finite"),
    ],
    ids=["type", "extent", "dimensions", "nan", "infinity"],
)
def test_an_output_that_does_not_fit_the_schema_is_rejected(output: Any, said: str) -> None:
    with pytest.raises(Refusal, match=f"rejected: .*{said}"):
        MonteCarlo().check_schema(option(), [output])


def test_a_missing_output_is_rejected() -> None:
    with pytest.raises(Refusal, match="0 outputs, not 1"):
        MonteCarlo().check_schema(option(), [])


# ---- philox and montecarlo --------------------------------------------------------------------


def test_philox_gives_the_published_words() -> None:
    path = Path(__file__).parent / "vectors" / "philox.json"
    for vector in json.loads(path.read_text())["vectors"]:
        counter, key, words = (
            [int(word, 16) for word in vector[name]] for name in ("counter", "key", "words")
        )
        c0, c1, c2, c3 = (np.array([word], dtype=np.uint64) for word in counter)

        assert [int(word[0]) for word in philox((c0, c1, c2, c3), (key[0], key[1]))] == words


@pytest.mark.parametrize("side", ["call", "put"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("seed", [1, 2**53 - 1])
def test_the_estimate_lies_within_four_standard_errors(side: str, steps: int, seed: int) -> None:
    params = option(option=side, paths=2**16, steps=steps, seed=seed)

    price, error = estimate(params, all_blocks(params))

    assert abs(price - closed_form(params)) < 4 * error


def simulated_one_by_one(params: MonteCarloParams) -> tuple[float, float]:
    """Price and standard error of a path-dependent option, by a generator of NumPy's own."""
    walk = np.random.default_rng(params.seed).normal(size=(200_000, params.steps)).cumsum(axis=1)
    steps = np.arange(1, params.steps + 1)
    prices = params.spot * np.exp(
        steps * params.drift / params.steps + params.step_volatility * walk
    )
    if params.style == "asian":
        gain = params.sign * (prices.mean(axis=1) - params.strike)
    else:
        assert params.barrier is not None
        is_up = params.barrier > params.spot
        beyond = prices >= params.barrier if is_up else prices <= params.barrier
        gain = params.sign * (prices[:, -1] - params.strike)
        gain = gain * (beyond.any(axis=1) == (params.knock == "in"))
    payoffs = params.discount * np.maximum(gain, 0)
    return payoffs.mean(), payoffs.std() / np.sqrt(len(payoffs))


@pytest.mark.parametrize(
    "style",
    [
        {"style": "asian"},
        {"style": "asian", "option": "put"},
        {"style": "barrier", "barrier": 120.0},
        {"style": "barrier", "barrier": 120.0, "knock": "in"},
        {"style": "barrier", "barrier": 85.0, "option": "put"},
        {"style": "barrier", "barrier": 85.0, "knock": "in", "option": "put"},
    ],
)
def test_path_dependent_prices_are_those_of_a_plain_simulation(style: dict[str, Any]) -> None:
    params = option(paths=2**17, steps=12, **style)

    price, error = estimate(params, all_blocks(params))
    other, other_error = simulated_one_by_one(params)

    assert abs(price - other) < 4 * (error**2 + other_error**2) ** 0.5
    assert price > 10 * error


@pytest.mark.parametrize("knock", ["in", "out"])
def test_a_price_at_the_barrier_may_be_on_either_side_of_it(knock: str) -> None:
    free = option(paths=4, steps=3, strike=1e-3)
    highest = free.spot * np.exp(max(farthest_logs(free)))
    params = option(
        paths=4, steps=3, strike=1e-3, style="barrier", barrier=float(highest), knock=knock
    )
    least, most = MonteCarlo().reference(params, 0)

    assert (least < most).all()
    for claimed in (least, most):
        assert not MonteCarlo().disagreement(params, 0, [claimed], [least, most])
    wrong = most * 1.001
    assert MonteCarlo().disagreement(params, 0, [wrong], [least, most])


def farthest_logs(params: MonteCarloParams) -> list[float]:
    """The highest logarithm of price over spot of the first four paths."""
    (normals,) = normals_of(params.seed, params.steps, 0, 1)
    steps = np.arange(1, params.steps + 1)
    walk = steps * params.drift / params.steps + params.step_volatility * normals[:, :, 0].cumsum(1)
    return [float(row.max()) for row in walk]


def test_the_closed_form_is_that_of_the_textbook() -> None:
    assert closed_form(option()) == pytest.approx(10.450583572185565)
    assert closed_form(option(option="put")) == pytest.approx(5.573526022256971)


@given(st.integers(1, 2**30), st.integers(1, 1024))
def test_blocks_cover_every_path_once(paths: int, steps: int) -> None:
    params = option(paths=paths, steps=steps)
    blocks = MonteCarlo().blocks(params)

    assert (blocks - 1) * params.block_paths < paths <= blocks * params.block_paths
    assert params.block_paths % 4 == 0


def test_a_path_does_not_depend_on_how_many_others_there_are() -> None:
    many = MonteCarlo().reference(option(paths=3 * 2**14), 1)
    few = MonteCarlo().reference(option(paths=2 * 2**14), 1)

    assert np.array_equal(many[0], few[0])


@pytest.mark.parametrize(
    ("sums", "said"), [([-1.0, 1.0], "negative"), ([1e9, 1.0], "squares"), ([1.0, 1.0], "")]
)
def test_sums_that_no_payoffs_have_are_seen_at_once(sums: list[float], said: str) -> None:
    assert said in MonteCarlo().inspect(option(), [np.array([sums])])
    assert bool(MonteCarlo().inspect(option(), [np.array([sums])])) == bool(said)


# ---- hashsearch -------------------------------------------------------------------------------


def search(**changes: Any) -> tuple[HashSearch, HashSearchParams]:
    workload = HashSearch()
    return workload, workload.decode(raw(SEARCH | changes))


def brute_force(params: HashSearchParams) -> list[int]:
    nonces = range(params.start, params.start + params.count)
    return [n for n in nonces if leading_zeros(params.hash_of(n)) >= params.target_bits]


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=32), st.integers(0, INTEGER_MAX), st.integers(1, 300), st.integers(1, 9))
def test_a_reference_block_is_what_brute_force_finds(
    prefix: bytes, start: int, count: int, bits: int
) -> None:
    workload, params = search(prefix=prefix.hex(), start=start, count=count, target_bits=bits)
    ranks = [(leading_zeros(params.hash_of(n)), -n) for n in range(start, start + count)]

    hits, best = workload.reference(params, 0)

    assert hits.tolist() == brute_force(params)
    assert best.tolist() == [-max(ranks)[1], max(ranks)[0]]


def honest_search(count: int = 40_000) -> tuple[HashSearch, HashSearchParams, list[Any]]:
    workload, params = search(count=count)
    parts = [workload.reference(params, b) for b in range(workload.blocks(params))]
    return workload, params, [
        np.concatenate([part[0] for part in parts]), np.stack([part[1] for part in parts])
    ]  # fmt: skip


def test_honest_hits_pass_the_inspection() -> None:
    workload, params, outputs = honest_search()

    workload.check_schema(params, outputs)
    assert workload.inspect(params, outputs) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda hits, best: (hits[::-1].copy(), best), "ascend"),
        (lambda hits, best: (np.append(hits, hits[-1]), best), "ascend"),
        (lambda hits, best: (np.append(hits, hits[-1] + 1), best), "not a hit"),
        (lambda hits, best: (np.append(hits, np.uint64(40_000)), best), "outside the range"),
        (lambda hits, best: (hits[:0], best), "contradict"),
        (lambda hits, best: (hits, best[::-1].copy()), "outside its block"),
        (lambda hits, best: (hits, best * np.array([1, 0], dtype=np.uint64)), "contradict"),
        (lambda _, best: (np.arange(2**16 + 1, dtype=np.uint64), best), "more than"),
    ],
    ids=["order", "twice", "no hit", "range", "none", "blocks", "bits", "number"],
)
def test_a_contradiction_in_a_search_is_seen_at_once(change: Any, said: str) -> None:
    workload, params, (hits, best) = honest_search()

    assert said in workload.inspect(params, list(change(hits, best)))


def test_a_hit_that_was_kept_back_is_seen_in_its_block() -> None:
    workload, params, (hits, best) = honest_search()
    outputs = [np.delete(hits, 3), best]

    assert workload.inspect(params, outputs) == ""
    assert "hits are" in workload.disagreement(
        params, 0, workload.extract(params, outputs, 0), workload.reference(params, 0)
    )


# ---- render -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 2, 3])
def test_the_smallest_pictures_are_checked_too(side: int) -> None:
    workload = Render()
    params = RenderParams(width=side, height=side, samples=1)
    (right,) = workload.reference(params, 0)
    black = np.zeros_like(right)

    assert workload.disagreement(params, 0, (right,), (right,)) == ""
    assert workload.disagreement(params, 0, (black,), (right,)) != ""


def picture(**changes: Any) -> tuple[Render, RenderParams]:
    workload = Render()
    return workload, workload.decode(raw(PICTURE | changes))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 256))
def test_tiles_cover_every_pixel_once(width: int, height: int, samples: int) -> None:
    workload, params = picture(width=width, height=height, samples=samples)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for block in range(workload.blocks(params)):
        workload.extract(params, [image], block)[0][...] += 1

    assert (image == 1).all()


def test_a_pixel_does_not_depend_on_its_neighbours() -> None:
    workload, params = picture(samples=2)
    setting, spheres = scene(params.scene, params.angle)
    x, y = np.array([40, 33]), np.array([20, 17])

    alone = trace(setting, spheres, x, y, (params.width, params.height), 2, params.seed)

    assert np.array_equal(alone, workload.reference(params, 1)[0][y, x - params.tile])


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"angle": 1.0}, {"scene": "pyramid"}, {"samples": 8}],
    ids=["seed", "angle", "scene", "samples"],
)
def test_a_tile_of_another_picture_disagrees(change: dict[str, Any]) -> None:
    workload, params = picture(width=96, height=64, samples=16)
    other = msgspec.structs.replace(params, **change)
    block = 14

    theirs, ours = (workload.reference(p, block)[0][:16, :16] for p in (other, params))

    assert "pixels differ" in workload.disagreement(params, block, (theirs,), (ours,))


def test_a_few_pixels_at_edges_may_differ() -> None:
    workload, params = picture()
    ours = workload.reference(params, 0)
    theirs = ours[0].copy()
    theirs[0, :2] ^= 128
    theirs[1:] += (theirs[1:] < 254).astype(np.uint8)

    assert workload.disagreement(params, 0, (theirs,), ours) == ""
    theirs[2, :9] ^= 128
    assert workload.disagreement(params, 0, (theirs,), ours) != ""


@pytest.mark.parametrize("name", SCENES)
def test_no_two_spheres_of_a_scene_overlap(name: str) -> None:
    _, spheres = scene(name, 0.0)
    centres, radii = spheres[:, :3].astype(np.float64), spheres[:, 3].astype(np.float64)
    gaps = np.sqrt(((centres[:, None] - centres) ** 2).sum(axis=-1)) - radii[:, None] - radii
    np.fill_diagonal(gaps, 1.0)

    assert gaps.min() > -1e-6
    assert (centres[:, 1] - radii > -1e-6).all()


def test_a_png_holds_the_picture() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    data = png_bytes(image)
    body = data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8]
    rows = np.frombuffer(zlib.decompress(body), dtype=np.uint8).reshape(5, 22)

    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert np.array_equal(np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(5, 7, 3), image)
