"""The date study: its sentences, its verdicts on known geometries, and whole tiny runs."""

import dataclasses
import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from browser import needs_browser, visit
from tiny_models import tiny_hf, tiny_tokenizer

from interp.positions import Sample
from interp.run import Run, parse
from studies.date_manifold import detection as detection_module
from studies.date_manifold import findings
from studies.date_manifold.__main__ import Config, main
from studies.date_manifold.data import (
    DAYS_IN_MONTH,
    DESTINATION,
    DISTRACTOR,
    FIRST_DAY,
    SOURCE,
    Dates,
    generate,
    one_hot_months,
    shuffled_month_orders,
)
from studies.date_manifold.detection import Settings, circle_of, detect

SETTINGS = Settings(n_splits=3, n_permutations=40, n_orders=20, alpha=1.0, seed=42, jobs=1)
N = 300
ROWS = ("embedding", *(f"block {b}" for b in range(4)), "final norm")
SHOWN = 2
"""The row of `ROWS` into which geometries are planted."""


# --- verdicts on known geometries ----------------------------------------------------------------


def _directions(k: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(1).standard_normal((24, k)))[0]


GEOMETRIES = {
    "circle": lambda dates: 8 * circle_of(dates.label) @ _directions(2).T,
    "lookup": lambda dates: 8 * one_hot_months(dates) @ _directions(12).T,
    "noise": lambda _dates: np.zeros((N, 24)),
}


def _dates() -> Dates:
    """Sentences of which a few words are looked at."""
    kept = ("[name]", "was", "[day]", SOURCE, DISTRACTOR, "party", DESTINATION)
    dates = generate(N, seed=0)
    samples = [Sample(s.text, {word: s.spans[word] for word in kept}) for s in dates.samples]
    return dataclasses.replace(dates, samples=samples)


@cache
def _detect(geometry: str):
    """Experiment 1 on noise, with a geometry at source and destination of one depth."""
    dates = _dates()
    rng = np.random.default_rng(0)
    cell = GEOMETRIES[geometry](dates)

    def blocks():
        for row, name in enumerate(ROWS):
            noise = rng.standard_normal((len(dates.words), N, 24)).astype(np.float32)
            noise[0] = 1.0  # one word without any variance
            if row == SHOWN:
                for word in (SOURCE, DESTINATION):
                    noise[dates.words.index(word)] += cell
            yield name, noise

    found = detect("planted", ROWS, blocks(), dates, SETTINGS)
    shown = cell + rng.standard_normal(cell.shape)
    places = {
        word: findings.landmark(shown, word, SHOWN, dates, SETTINGS)
        for word in (SOURCE, DESTINATION)
    }
    noise = findings.landmark(rng.standard_normal((N, 24)), SOURCE, 0, dates, SETTINGS)
    made = findings.claims(found, places, noise, dates, SETTINGS)
    return found, {c.statement: c for c in made}


def _verdict(claims: dict, beginning: str) -> str:
    (claim,) = (c for s, c in claims.items() if s.startswith(beginning))
    return claim.verdict


def test_a_circle_is_found_called_a_circle_and_nothing_else_is():
    found, claims = _detect("circle")
    survivors = {(ROWS[r], found.words[c]) for r, c in np.argwhere(found.survives)}
    assert survivors == {(ROWS[SHOWN], SOURCE), (ROWS[SHOWN], DESTINATION)}
    assert _verdict(claims, f"The word {SOURCE} carries") == "supported"
    assert _verdict(claims, f"At {SOURCE} the year is a circle") == "supported"
    assert _verdict(claims, f"At {SOURCE} the blocks make the circle rounder") == "supported"
    assert _verdict(claims, "The unrelated word") == "not supported"
    assert _verdict(claims, "On permuted dates nothing survives") == "supported"
    assert (found.grid.status[:, 0] == "constant").all()
    assert np.isnan(found.grid.score[:, 0]).all()


def test_a_lookup_table_is_found_but_not_called_a_circle():
    found, claims = _detect("lookup")
    assert found.survives[SHOWN, found.words.index(SOURCE)]
    assert _verdict(claims, f"The word {SOURCE} carries") == "supported"
    assert _verdict(claims, f"At {SOURCE} the year is a circle") == "not supported"


def test_noise_supports_nothing():
    _, claims = _detect("noise")
    for statement, claim in claims.items():
        expected = "supported" if statement.startswith("On permuted") else "not supported"
        assert claim.verdict == expected, statement


def test_the_self_control_is_the_first_permutation_s_own_run(monkeypatch):
    """Without a planted circle the second run's cell must be the null's own value."""
    found, _ = _detect("noise")
    monkeypatch.setattr(detection_module, "PLANTED_RADIUS", 0.0)
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((len(found.words), N, 24)).astype(np.float32) for _ in ROWS]
    target = (len(ROWS) // 2, found.words.index(DISTRACTOR))
    control = detection_module._self_control(
        found.grid, ROWS, target, noise[target[0]][target[1]], _dates(), SETTINGS
    )
    assert control.planted_score == pytest.approx(found.grid.null[0, *target, 0], abs=1e-6)
    assert control.planted_p > 0.05


# --- a whole run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-llama")
    tiny_hf("llama").save_pretrained(path)
    tiny_tokenizer("llama").save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def config(tiny_checkpoint, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return Config(
        model=(tiny_checkpoint,), n=100, permutations=40, device="cpu", jobs=1,
        runs=root, store=root / "stores",
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(config):
    return main(config)


def test_a_run_leaves_claims_tables_report_and_manifest(report, config):
    run = Run.open(report.parent)
    (name,) = config.model
    claims = run.results()["claims"]
    assert {c["subject"] for c in claims} == {name}
    assert all(c["verdict"] and c["rule"] and c["null"] for c in claims)
    cells = run.table("cells-1")
    assert len(cells) == 5 * 33
    # the embedding of a word that never changes is one vector, and has a status instead of a score
    fixed = cells[(cells.depth == "embedding") & (cells.word == "born")].iloc[0]
    assert fixed.status == "constant" and np.isnan(fixed.score)
    assert run.manifest["recorded"][f"model {name}"]["files"]
    assert run.manifest["recorded"]["sentences"]
    assert run.manifest["config"]["seed"] == 42


def test_a_second_run_reads_the_same_store_and_finds_the_same(report, config):
    (store,) = config.store.iterdir()
    written = {f: f.stat().st_mtime_ns for f in store.glob("shard-*")}
    again = main(config)
    assert again != report
    assert {f: f.stat().st_mtime_ns for f in store.glob("shard-*")} == written
    results = [json.loads((p.parent / "results.json").read_text()) for p in (report, again)]
    assert results[0] == results[1]


def test_permuted_dates_leave_no_surviving_cell(config):
    path = main(dataclasses.replace(config, permute_dates=True))
    assert not Run.open(path.parent).table("cells-1").survives.any()


@needs_browser
def test_the_report_opens_without_a_network(report):
    seen = visit(report)
    assert seen.errors == []
    assert seen.requests == []
    assert seen.plots == 8
    assert seen.views == 1
    assert "On permuted dates nothing survives but a planted circle." in seen.text


def test_several_models_share_one_report(config, tiny_checkpoint, tmp_path):
    other = tmp_path / "tiny-qwen"
    tiny_hf("qwen3").save_pretrained(other)
    tiny_tokenizer("qwen3").save_pretrained(other)
    path = main(dataclasses.replace(config, model=(tiny_checkpoint, str(other)), n=60))
    page = path.read_text()
    assert "Models side by side" in page
    claims = Run.open(path.parent).results()["claims"]
    assert {c["subject"] for c in claims} == {tiny_checkpoint, str(other)}


def test_the_command_line_explains_every_field_and_refuses_what_it_does_not_know(capsys):
    with pytest.raises(SystemExit):
        parse(Config, ["--help"], prog="date", description="")
    shown = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in shown
    assert "Cross-validation folds, grouped by date" in shown
    with pytest.raises(SystemExit) as refused:
        parse(Config, ["--sentences", "3"], prog="date", description="")
    assert refused.value.code == 2
    assert parse(Config, ["--model", "a", "--model", "b"], prog="x", description="").model == (
        "a",
        "b",
    )
    with pytest.raises(ValueError, match="permutations = 10; a 5 % test needs at least 40"):
        Config(permutations=10)
    for models in ((), ("a", "a")):
        with pytest.raises(ValueError, match="name one or more models, each once"):
            Config(model=models)
