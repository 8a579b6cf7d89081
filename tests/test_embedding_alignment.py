"""The embedding-alignment study: verdicts on planted pairs, and whole tiny runs."""

import csv
import dataclasses
import json
from functools import cache

import numpy as np
import pytest
import torch
from browser import needs_browser, visit
from tiny_models import tiny_hf, tiny_tokenizer

from interp.claims import Claim, judged
from interp.numerals import runs
from interp.pairs import Pairs
from interp.pooling import POOLINGS, Poolings, pool
from interp.run import Run, parse
from interp.store import Activations
from interp.study import Subject
from studies.embedding_alignment import blocks, tokens
from studies.embedding_alignment import pairs as pairing
from studies.embedding_alignment.__main__ import STUDY, Config
from studies.embedding_alignment.tokens import sites

BLOCKS, CATEGORIES, EACH, D = 3, 4, 12, 64
N = CATEGORIES * EACH
HOOKS = (
    "hook_embed",
    *(f"blocks.{block}.hook_resid_post" for block in range(BLOCKS)),
    "ln_final.hook_out",
    *(f"blocks.{block}.hook_{half}_out" for half in ("attn", "mlp") for block in range(BLOCKS)),
)


def _planted(shared: dict[int, float], own: dict[int, float], fraction: np.ndarray) -> Activations:
    """Rows with a template's direction, and pair-specific parts that shared and other tokens hold
    with chosen strength at each depth."""
    category = np.repeat(np.arange(CATEGORIES), EACH)
    numbers, words = np.random.default_rng(99).standard_normal((2, N, D))
    tensors = {}
    for depth, hook in enumerate(HOOKS):
        rng = np.random.default_rng(depth)
        template = 2 * rng.standard_normal((2, CATEGORIES, D))[:, category]
        template[1] = template[0]
        others = template + own.get(depth, 0.0) * words + rng.standard_normal((2, N, D))
        brought = shared.get(depth, 0.0) * numbers
        every = others + brought
        # a mean over so few tokens that it brings as much to the mean over all
        tokens = brought + 0.01 * rng.standard_normal((2, N, D))
        tokens /= np.maximum(fraction[..., None], 0.01)
        poolings = {
            "last": template if depth == 0 else every,
            "mean": every,
            "rest": every,
            "shared": tokens,
            "unshared": others,
            "specific": others,
            "numeric": tokens,
        }
        rows = np.stack([poolings[name] for name in POOLINGS], axis=2)
        rows = rows.reshape(2 * N, len(POOLINGS), D).astype(np.float32)
        tensors[hook] = torch.from_numpy(rows)
    return Activations(tensors, POOLINGS)


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


def _asked(name: str, pairs: Pairs, planted, vectors: tuple, poolings: Poolings, **options):
    """A subject whose texts, activations and embeddings are given instead of a model's."""
    given = {tokens.poolings: poolings, tokens.store: planted, tokens.vectors: vectors}
    config = Config(folds=4, seed=0, **options)
    return Subject(name, 1, config, pairs, Run(STUDY.name, config), given)


@cache
def _subject(name: str) -> Subject:
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
    planted = _planted(shared, own, poolings.shared_fraction)
    return _asked(name, pairs, planted, vectors, poolings, resamples=300)


def _all_claims(subject: Subject) -> list[Claim]:
    questions = (
        pairing.raw_embeddings,
        tokens.shared_tokens,
        blocks.added_by_blocks,
        blocks.main_axes,
    )
    return [claim for question in questions for claim in subject.ask(question).claims]


def _claims(name: str) -> dict[str, Claim]:
    starts = {
        "Averaged over tokens": "free",
        "Raw embeddings of the last": "last",
        "What tokens that both": "carried",
        "Words that only": "words",
        "How much better the best block": "blocks",
        "What the first block": "first",
    }
    claims = {}
    for claim in _all_claims(_subject(name)):
        for start, key in starts.items():
            if claim.statement.startswith(start):
                claims[key] = judged([claim])[0]
    assert set(claims) == set(starts.values())
    return claims


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
    subject = _subject("nowhere")
    cell = subject.ask(sites).stream.cell(0, "last")
    assert cell.plain.z > 10 and np.isnan(cell.stratified.z)
    assert _claims("nowhere")["last"].verdict == "not testable here"
    part = subject.ask(pairing.raw_embeddings)
    (line,) = (line for line in part.words if line.startswith("Undefined within categories: "))
    (reason,) = line.removeprefix("Undefined within categories: ").removesuffix(".").split("; ")
    assert reason.startswith(
        "embedding, last: last tokens are identical within every category (. ."
    )
    claim = next(c for c in part.claims if c.statement.startswith("Raw embeddings of"))
    assert claim.estimate is None and "identical within every category" in claim.null


def test_the_block_that_makes_alignment_is_named():
    second = _subject("made by the second block").ask(sites)
    assert runs(second.depths, second.stream.gains("mean").above) == "block 1"
    assert int(np.argmax(second.stream.increments("mean").difference)) == 1
    assert (_claims("made by the second block")["blocks"].interval or (0, 0))[0] > 0
    largest = "largest increment"
    assert _claims("made by the second block")["first"].controls[largest] == "block 1"
    assert _claims("made by the first block")["first"].controls[largest] == "block 0"
    first = _subject("made by the first block").ask(sites)
    assert runs(first.depths, first.stream.gains("mean").above) == "block 0 to block 2"


def test_noise_supports_nothing():
    claims = _claims("nowhere")
    assert claims["free"].verdict == "undecided"
    assert (claims["blocks"].interval or (1, 1))[0] < 0 and claims["words"].verdict == "undecided"
    assert claims["carried"].estimate is None


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
    planted = _planted({0: 1.0}, {}, poolings.shared_fraction)
    subject = _asked("m", pairs, planted, vectors, poolings, resamples=100)
    grid = subject.ask(sites).stream
    assert grid.cell(0, "numeric").stratified.status == "0 pairs have such tokens in both texts"
    assert grid.cell(0, "mean").stratified.z > 3
    assert len(_all_claims(subject)) == 7
    (section,) = subject.ask(pairing.beyond_cosines).sections
    assert len(section.body) == 3


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
    return STUDY.run(config).report


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
    assert run.manifest["recorded"]["texts"]


@needs_browser
def test_the_report_opens_without_a_network(report):
    seen = visit(report)
    assert seen.errors == [] and seen.requests == []
    # per model: 10 curves and maps and up to 4 pictures; one figure of all models
    assert 2 * 13 + 1 <= seen.plots <= 2 * 14 + 1
    assert "Averaged over tokens, raw embeddings lie closer in pairs" in seen.text


def test_a_second_run_reads_the_same_store_and_finds_the_same(report, config):
    again = STUDY.run(config).report
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
    run = Run.open(STUDY.run(chosen).path)
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
