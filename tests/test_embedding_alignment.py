"""The embedding-alignment study: verdicts on planted pairs, and whole tiny runs."""

import csv
import dataclasses
import json
from functools import cache
from typing import cast

import numpy as np
import pytest
from browser import needs_browser, visit
from tiny_models import tiny_hf, tiny_tokenizer

from interp.claims import Claim, judged
from interp.run import Run, parse
from interp.store import Store
from studies.embedding_alignment import findings
from studies.embedding_alignment.__main__ import Config, main
from studies.embedding_alignment.activations import Sides
from studies.embedding_alignment.measuring import Measured, Settings, measure
from studies.embedding_alignment.problems import Pairs
from studies.embedding_alignment.reading import gains, increments, named, undefined
from studies.embedding_alignment.tokens import POOLINGS, Poolings, pool

BLOCKS, CATEGORIES, EACH, D = 3, 4, 12, 64
N = CATEGORIES * EACH
HOOKS = (
    "hook_embed",
    *(f"blocks.{block}.hook_resid_post" for block in range(BLOCKS)),
    "ln_final.hook_out",
    *(f"blocks.{block}.hook_{half}_out" for half in ("attn", "mlp") for block in range(BLOCKS)),
)


class _Planted:
    """Rows with a template's direction, and pair-specific parts that shared and other tokens hold
    with chosen strength at each depth."""

    hooks = HOOKS

    def __init__(self, shared: dict[int, float], own: dict[int, float], fraction: np.ndarray):
        self.shared, self.own, self.fraction = shared, own, fraction[..., None]

    def read(self, hook: str) -> np.ndarray:
        at = HOOKS.index(hook)
        rng = np.random.default_rng(at)
        category = np.repeat(np.arange(CATEGORIES), EACH)
        template = 2 * rng.standard_normal((2, CATEGORIES, D))[:, category]
        template[1] = template[0]
        numbers, words = np.random.default_rng(99).standard_normal((2, N, D))
        others = template + self.own.get(at, 0.0) * words + rng.standard_normal((2, N, D))
        brought = self.shared.get(at, 0.0) * numbers
        every = others + brought
        last = template if at == 0 else every
        # a mean over so few tokens that it brings as much to the mean over all
        tokens = (brought + 0.01 * rng.standard_normal((2, N, D))) / np.maximum(self.fraction, 0.01)
        poolings = {
            "last": last, "mean": every, "rest": every, "shared": tokens,
            "unshared": others, "specific": others, "numeric": tokens,
        }  # fmt: skip
        rows = np.stack([poolings[name] for name in POOLINGS], axis=2)
        return rows.reshape(2 * N, len(POOLINGS), D).astype(np.float32)


def _pairs(n: int = N, categories: int = CATEGORIES) -> Pairs:
    category = np.repeat([f"kind {number}" for number in range(categories)], n // categories)
    noun = [(chr(0x3B1 + number % EACH), chr(0x430 + number % EACH)) for number in range(n)]
    first = tuple(f"hay {number} {noun[number][0]}." for number in range(n))
    second = tuple(f"there are {number} {noun[number][1]}." for number in range(n))
    return Pairs(("Spanish", "English"), (first, second), category)


def _vectors(pairs: Pairs, poolings: Poolings, *, digits: bool, nouns: bool) -> tuple:
    """Random vectors of both languages' tokens, of which digits or nouns may have one in both."""
    tokenizer = tiny_tokenizer("qwen3")
    ids = [types.ids.tolist() for types in poolings.types]
    first, second = (
        np.random.default_rng(s).standard_normal((len(of), D)) for s, of in enumerate(ids)
    )
    alike = [tuple(tokenizer(digit)["input_ids"][-1:] * 2) for digit in "0123456789"] * digits
    if nouns:
        words = [
            (text.split()[-1], other.split()[-1]) for text, other in zip(*pairs.texts, strict=True)
        ]
        alike += [tuple(tokenizer(w)["input_ids"][-2] for w in pair) for pair in set(words)]
    for one, other in alike:
        second[ids[1].index(other)] = first[ids[0].index(one)]
    return first, second


@cache
def _measured(name: str) -> Measured:
    shared, own = {
        "free and carried by shared tokens": ({0: 1.0, 1: 1.0, 2: 1.0}, {}),
        "words of one language": ({0: 0.1}, {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}),
        "made by the second block": ({0: 0.3, 1: 0.3, 2: 2.0, 3: 0.3}, {}),
        "made by the first block": ({0: 0.3, 1: 2.0, 2: 2.0, 3: 2.0}, {}),
        "nowhere": ({}, {}),
    }[name]
    pairs = _pairs()
    poolings = pool(tiny_tokenizer("qwen3"), pairs)
    vectors = _vectors(pairs, poolings, digits=0 in shared, nouns=0 in own)
    sides = Sides(cast(Store, _Planted(shared, own, poolings.shared_fraction)), BLOCKS, vectors)
    return measure(name, sides, pairs, poolings, Settings(resamples=300, folds=4, seed=0))


def _claims(name: str) -> dict[str, Claim]:
    starts = {
        "Averaged over tokens": "free",
        "Raw embeddings of the last": "last",
        "What tokens that both": "carried",
        "Words that only": "words",
        "How much better the best block": "blocks",
        "What the first block": "first",
    }
    found = {}
    for claim in findings.claims(_measured(name)):
        for start, key in starts.items():
            if claim.statement.startswith(start):
                found[key] = judged([claim])[0]
    assert set(found) == set(starts.values())
    return found


def test_alignment_that_shared_tokens_bring_is_told_from_that_of_words():
    shared = _claims("free and carried by shared tokens")
    assert shared["free"].verdict == "supported"
    assert (shared["carried"].interval or (0, 0))[0] > 0.5 and shared[
        "words"
    ].verdict == "undecided"
    words = _claims("words of one language")
    assert words["free"].verdict == "supported"
    assert (words["carried"].interval or (1, 1))[0] < 0.5 and words["words"].verdict == "supported"


def test_punctuation_at_the_end_is_no_alignment():
    found = _measured("nowhere")
    cell = found.cell(0, "last")
    assert cell.plain.z > 10 and np.isnan(cell.stratified.z)
    assert _claims("nowhere")["last"].verdict == "not testable here"
    (reason,) = undefined(found)
    assert reason.startswith(
        "embedding, last: last tokens are identical within every category (. ."
    )
    claim = next(c for c in findings.claims(found) if c.statement.startswith("Raw embeddings of"))
    assert claim.estimate is None and "identical within every category" in claim.null
    assert any("Undefined within categories" in line for line in findings.summary(found, []))


def test_the_block_that_makes_alignment_is_named():
    second = _measured("made by the second block")
    assert named(second, gains(second).above) == "block 1"
    assert int(np.argmax(increments(second).difference)) == 1
    assert (_claims("made by the second block")["blocks"].interval or (0, 0))[0] > 0
    largest = "largest increment"
    assert _claims("made by the second block")["first"].controls[largest] == "block 1"
    assert _claims("made by the first block")["first"].controls[largest] == "block 0"
    first = _measured("made by the first block")
    assert named(first, gains(first).above) == "block 0 to block 2"


def test_noise_supports_nothing():
    found = _claims("nowhere")
    assert found["free"].verdict == "undecided"
    assert (found["blocks"].interval or (1, 1))[0] < 0 and found["words"].verdict == "undecided"
    assert found["carried"].estimate is None


def test_pairs_without_such_tokens_leave_a_pooling_undefined_and_the_rest_whole():
    pairs = dataclasses.replace(
        _pairs(),
        texts=(
            tuple(f"casa {'abcd'[n % 4]}." for n in range(N)),
            tuple("a house." for _ in range(N)),
        ),
    )
    poolings = pool(tiny_tokenizer("qwen3"), pairs)
    vectors = _vectors(pairs, poolings, digits=False, nouns=False)
    sides = Sides(cast(Store, _Planted({0: 1.0}, {}, poolings.shared_fraction)), BLOCKS, vectors)
    found = measure("m", sides, pairs, poolings, Settings(resamples=100, folds=4, seed=0))
    assert found.cell(0, "numeric").stratified.status == "0 pairs have such tokens in both texts"
    assert found.cell(0, "mean").stratified.z > 3
    assert len(findings.claims(found)) == 7


# --- whole runs ----------------------------------------------------------------------------------


def _checkpoint(family: str, path) -> str:
    tiny_hf(family, max_position_embeddings=400).save_pretrained(path)
    tiny_tokenizer(family).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    models = tuple(_checkpoint(family, root / family) for family in ("llama", "qwen3"))
    return Config(model=models, n=25, resamples=100, device="cpu", runs=root, store=root / "stores")


@pytest.fixture(scope="module")
def report(config):
    return main(config)


def test_a_run_leaves_claims_tables_report_and_manifest(report, config):
    run = Run.open(report.parent)
    claims = run.results()["claims"]
    assert {c["subject"] for c in claims} == set(config.model)
    assert all(c["reason"] for c in claims)
    assert [c["subject"] for c in claims if c["primary"]] == list(config.model)
    for number in (1, 2):
        cells = run.table(f"cells-{number}")
        # 3 blocks: 5 depths of the stream, and two halves of each block
        assert len(cells) == (5 + 2 * 3) * len(POOLINGS)
        last = cells[(cells.hook == "hook_embed") & (cells.pooling == "last")]
        assert last.z.isna().item() and "the same within" in last.status.item()
        assert {"language-specific", "numeric"} <= set(run.table(f"tokens-{number}").kind)
    assert run.manifest["recorded"]["pairs"]


@needs_browser
def test_the_report_opens_without_a_network(report):
    seen = visit(report)
    assert seen.errors == [] and seen.requests == []
    # per model: 10 curves and maps and up to 4 pictures; one figure of all models
    assert 2 * 13 + 1 <= seen.plots <= 2 * 14 + 1
    assert "Averaged over tokens, raw embeddings lie closer in pairs" in seen.text


def test_a_second_run_reads_the_same_store_and_finds_the_same(report, config):
    again = main(config)
    results = [json.loads((p.parent / "results.json").read_text()) for p in (report, again)]
    assert results[0] == results[1]


def test_pairs_of_ones_own_in_any_two_languages(config, tmp_path):
    file = tmp_path / "pairs.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["Spanish", "English"])
        for number in range(12):
            one, other = (("rojo", "red"), ("azul", "blue"))[number % 2]
            writer.writerow([f"Tengo {number} libros {one}", f"I have {number} books {other}"])
    chosen = dataclasses.replace(config, model=config.model[1:], pairs=file, n=Config.n)
    run = Run.open(main(chosen).parent)
    cells = run.table("cells-1").set_index(["hook", "pooling"])
    # one category: within it is among all
    row = cells.loc[("hook_embed", "mean")]
    assert row.z == pytest.approx(row.plain_z) and row.p <= 0.05


def test_the_command_line_explains_every_field(capsys):
    with pytest.raises(SystemExit):
        parse(Config, ["--help"], prog="alignment", description="")
    shown = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in shown
    with pytest.raises(ValueError, match="resamples = 5; it must be at least 100"):
        Config(resamples=5)
    with pytest.raises(ValueError, match="name one or more models, each once"):
        Config(model=())
