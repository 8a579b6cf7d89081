"""The date study: experiment 1's verdicts on known geometries, and whole tiny runs."""

import csv
import dataclasses
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import needs_browser, visit
from planted_texts import CONFIG, ROWS, SHOWN, Planted, few_words, figure, lookup_table
from tiny_models import tiny_hf, tiny_tokenizer

from interp.claims import judged
from interp.positions import Sample, find
from interp.run import Run, parse
from interp.study import Subject
from studies.date_manifold import circle
from studies.date_manifold import data as texts_of
from studies.date_manifold.__main__ import STUDY, Config
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import (
    UNIFORM_NULL,
    Detection,
    best_depth,
    cell_table,
    cells,
    detection,
)

# --- verdicts on known geometries ----------------------------------------------------------------

GEOMETRIES = {"figure": figure, "lookup": lookup_table}
ALL = dataclasses.replace(CONFIG, standardise="all")


@cache
def _data(task: str) -> Dataset:
    return few_words(task, 300 if task == "birthday" else 198)


def _claims(subject: Subject) -> dict:
    """What experiment 1 says, by statement."""
    asked = (cells, circle.landmarks, circle.category_order, circle.within)
    return {c.statement: c for question in asked for c in subject.ask(question).claims}


def _best_where_shown(subject: Planted) -> Detection:
    """Experiment 1 of which the landmarks lie at the depth that is shown."""
    detected = subject.ask(detection)
    r2 = np.zeros_like(detected.left_out.r2)
    r2[SHOWN] = 1
    left = dataclasses.replace(detected.left_out, r2=r2)
    return dataclasses.replace(detected, grid=dataclasses.replace(detected.grid, leave_out=left))


@cache
def _detect(task: str, geometry: str) -> tuple[Planted, dict]:
    """Experiment 1 on noise, with a geometry at source and destination of one depth."""
    data = _data(task)
    words = (data.source, data.destination)
    planted = {} if geometry == "noise" else dict.fromkeys(words, GEOMETRIES[geometry](data))
    subject = Planted(data, planted)
    if geometry == "lookup":  # which predicts no category that it never saw, better at no depth
        subject = Planted(data, planted, answers={detection: _best_where_shown(subject)})
    return subject, _claims(subject)


def _verdict(claims: dict, beginning: str) -> str:
    """By itself: 40 permutations leave no p that a correction over findings would let pass."""
    (claim,) = (c for s, c in claims.items() if s.startswith(beginning))
    return judged([claim])[0].verdict


def _survivors(subject: Subject) -> set[tuple[str, str]]:
    survives = subject.ask(detection).grid.survives()
    return {(ROWS[row], subject.texts.positions[word]) for row, word in np.argwhere(survives)}


def test_a_circle_is_found_called_a_circle_and_nothing_else_is():
    subject, claims = _detect("birthday", "figure")
    assert _survivors(subject) == {(ROWS[SHOWN], "[month]"), (ROWS[SHOWN], "birthday")}
    for word in ("[month]", "birthday"):
        assert best_depth(subject, subject.texts, word) == SHOWN
        assert _verdict(claims, f"The word {word} carries the date") == "supported"
        assert _verdict(claims, f"At {word} neighbouring months are alike") == "supported"
        assert _verdict(claims, f"At {word} the months lie on a circle") == "supported"
    assert claims["What the blocks add to the circle at [month]."].estimate > 0.3
    assert claims["Depths at which the unrelated word [sport] carries the date too."].estimate == 0
    grid = subject.ask(detection).grid
    assert (grid.status[:, 0] == "constant").all()
    assert np.isnan(grid.score[:, 0]).all()


def test_a_line_is_called_a_line_and_its_places_hold_no_angles():
    subject, claims = _detect("age", "figure")
    assert _survivors(subject) == {(ROWS[SHOWN], "[age]"), (ROWS[SHOWN], "age")}
    assert _verdict(claims, "The word [age] carries the age") == "supported"
    assert _verdict(claims, "At [age] the decades lie in their order") == "supported"
    table = subject.ask(cells).tables["cells"]
    assert "left_out_r2" in table and not {"kfold_error", "left_out_error"} & set(table)


@pytest.mark.parametrize(
    ("task", "word", "said"),
    [
        ("birthday", "[month]", ["At [month] neighbouring", "At [month] the months lie"]),
        ("age", "[age]", ["At [age] the decades lie in"]),
    ],
)
def test_a_lookup_table_is_found_but_not_called_a_geometry(task, word, said):
    subject, claims = _detect(task, "lookup")
    detected, column = subject.ask(detection), subject.texts.positions.index(word)
    assert detected.grid.survives()[SHOWN, column]
    assert _verdict(claims, f"The word {word} carries") == "supported"
    assert all(_verdict(claims, beginning) == "undecided" for beginning in said)
    # what the lookup table itself reaches without any noise
    assert detected.lookup > detected.grid.score[SHOWN, column, 0]
    assert detected.lookup > UNIFORM_NULL + 0.3


def test_noise_supports_nothing():
    _, claims = _detect("birthday", "noise")
    verdicts = {judged([claim])[0].verdict for claim in claims.values()}
    assert verdicts == {"undecided", "described"}


@pytest.mark.parametrize("geometry", ["facts", "figure"])
def test_paraphrases_without_a_group_column_fail_the_control(geometry):
    """Forty facts in six wordings each: rows of a fact are alike, and none knows the label."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(40), 6)
    label = np.linspace(0, 100, 40)[of]
    texts = [f"Count {value:.2f} of wording {n % 6} each." for n, value in enumerate(label)]
    samples = [Sample(t, {"count": find(t, "Count"), "each": find(t, "each")}) for t in texts]
    edges = np.linspace(0, 100, 5)
    data = Dataset(
        task="data", quantity="label", unit="", samples=samples, labels=label, period=None,
        shape="linear", groups=np.arange(240), categories=tuple("abcd"), category_noun="part",
        edges=edges, source="count", destination="each", distractor=None, before=0,
    )  # fmt: skip
    code = 4 * rng.normal(size=(40, 24))[of] if geometry == "facts" else figure(data)

    class Facts(Planted):
        """The code once more at the first word of the row that is shown."""

        def activations(self):
            for name, activations in super().activations():
                again = code if name == ROWS[SHOWN] else 0
                yield name, activations + again * (np.arange(2) == 0)[:, None, None]

    subject = Facts(data, dict.fromkeys(("count", "each"), code))
    subject = Facts(data, subject.planted, answers={detection: _best_where_shown(subject)})
    made = judged(subject.ask(circle.landmarks).claims)
    passed = {c.verdict for c in made if c.kind == "control"}
    present = next(c for c in made if c.statement.startswith("The word each carries"))
    assert present.p is not None and present.p <= 0.05  # the facts alone pass the permutations
    assert passed == ({"failed"} if geometry == "facts" else {"passed"})
    if geometry == "facts":
        assert present.verdict == "not testable here" and "a control failed" in present.reason


# --- standardised features -----------------------------------------------------------------------


class Scaled(Planted):
    """Features with a spread of 1 over all rows, times a scale."""

    scale = np.ones(24, np.float32)

    def activations(self):
        for name, activations in super().activations():
            # a spread of 0 is that of the word that never changes
            spread = np.maximum(activations.std(axis=1, keepdims=True), 1e-3)
            yield name, (activations / spread * self.scale).astype(np.float32)


def _standardised(scale: np.ndarray, config: Config) -> tuple[Detection, pd.DataFrame]:
    """Experiment 1 with a circle at the source, features times `scale`, and its table."""
    data = few_words("birthday", 120)
    subject = Scaled(data, {data.source: figure(data)}, config=config)
    subject.scale = scale
    detected = subject.ask(detection)
    return detected, cell_table(subject, data, detected.grid)


def test_standardised_features_have_no_scale_and_leave_unit_ones_as_they_are():
    unit = np.ones(24, np.float32)
    # powers of two, which cost no digits
    scale = np.exp2(np.random.default_rng(0).integers(-6, 6, 24)).astype(np.float32)
    plain, plain_table = _standardised(unit, CONFIG)
    own, own_table = _standardised(unit, ALL)
    scaled, _ = _standardised(scale, ALL)
    for name in ("score", "null"):
        np.testing.assert_allclose(
            getattr(own.grid, name), getattr(scaled.grid, name), atol=1e-6, equal_nan=True
        )
    np.testing.assert_allclose(own.grid.score, plain.grid.score, atol=0.01, equal_nan=True)
    assert not np.array_equal(own.grid.score, plain.grid.score, equal_nan=True)
    survives = own.grid.survives()
    assert (survives == plain.grid.survives()).all() and survives.any()
    # the left-out categories see the features as they are
    for name in ("score", "r2", "error", "null_r2"):
        np.testing.assert_array_equal(*(getattr(d.left_out, name) for d in (plain, own)))
    np.testing.assert_array_equal(*(d.left_out.controls_r2["order"] for d in (plain, own)))
    assert own_table.left_out_r2.equals(plain_table.left_out_r2)


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-llama")
    tiny_hf("llama", num_hidden_layers=2).save_pretrained(path)
    tiny_tokenizer("llama").save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def config(checkpoint, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return Config(
        model=(checkpoint,), n=60, folds=2, permutations=40, interventions=0, device="cpu", jobs=1,
        runs=root, store=root / "stores",
    )  # fmt: skip


@pytest.fixture(scope="module")
def birthdays(config):
    return STUDY.run(config).report


@pytest.fixture(scope="module")
def own(config, tmp_path_factory):
    """The configuration for a user's few texts, whose labels are numbers from 1 to 9."""
    path = tmp_path_factory.mktemp("own") / "mills.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "group", "span:count", "span:river", "span:each"])
        for row in range(45):
            name, count = ("north", "south", "east", "west")[row % 4], 1 + row % 9
            text = f"The {name} mill has {count} wheels, stands by the river and counts each."
            writer.writerow([text, count, f"mill {row}", str(count), "river", "each"])
    return dataclasses.replace(config, data=path, n=Config.n)


@pytest.fixture(scope="module")
def mills(own):
    return STUDY.run(own).report


TABLES = {"cells-1", "planes-1", "reuse-1", "rigidity-1", "shapes-1"}
PLOTS = 15
"""Plots of a line: 8 of experiment 1, 2 of planes, 3 of reuse, 1 of rigidity. A circle has that of
its roundness as well."""


def _check(path: Path, chosen: Config, tables: set[str], plots: int) -> None:
    """A run has left everything it should, and each of its claims is decided."""
    run, data, (name,) = Run.open(path.parent), texts_of.texts(chosen), chosen.model
    claims = run.results()["claims"]
    assert {c["subject"] for c in claims} == {name}
    found = [c for c in claims if c["kind"] == "finding"]
    assert {c["verdict"] for c in found} <= {
        "supported",
        "refuted",
        "undecided",
        "not testable here",
    }
    assert all(c["reason"] and c["exchange"] for c in found)
    assert sum(c["primary"] for c in found) == 1
    assert {p.stem for p in path.parent.glob("*.parquet")} == tables
    assert len(run.table("cells-1")) == 4 * len(data.positions) == len(run.table("reuse-1"))
    assert len(run.table("planes-1")) == len(data.positions) * (len(data.positions) - 1) / 2
    assert run.manifest["recorded"][f"model {name}"]["files"]
    assert run.manifest["recorded"]["texts"] == data.fingerprint()
    assert run.manifest["config"]["seed"] == 42
    assert path.read_text().count('class="plotly-graph-div"') == plots


def test_a_run_leaves_claims_tables_report_and_manifest(birthdays, config):
    _check(birthdays, config, TABLES | {"roundness-1", "cycle-1"}, PLOTS + 1)
    cells = Run.open(birthdays.parent).table("cells-1")
    assert cells.word.nunique() == 33
    # the embedding of a word that never changes is one vector, and has a status instead of a score
    fixed = cells[(cells.depth == "embedding") & (cells.word == "born")].iloc[0]
    assert fixed.status == "constant" and np.isnan(fixed.score)


@pytest.mark.parametrize(
    ("options", "tables", "plots"),
    [
        ({"people": 2}, {"roundness-1", "binding-1", "cycle-1"}, 4),
        ({"task": "weekday"}, {"roundness-1", "cycle-1"}, 1),
        ({"task": "hour", "standardise": "all"}, {"roundness-1", "cycle-1"}, 1),
        ({"task": "duration", "standardise": "none"}, set(), 0),
        ({"task": "age", "depth": 100.0}, set(), 0),
    ],
)
def test_every_task_runs_to_its_end(config, monkeypatch, options, tables, plots):
    """On five words of each text, as every cell costs its permutations."""
    monkeypatch.setattr(texts_of, "generate", few_words)
    chosen = dataclasses.replace(config, **options)
    _check(STUDY.run(chosen).report, chosen, TABLES | tables, PLOTS + plots)


@needs_browser
def test_the_report_opens_without_a_network(birthdays):
    seen = visit(birthdays)
    assert seen.errors == []
    assert seen.requests == []
    assert seen.plots == PLOTS + 1
    assert seen.views == 1
    assert "At [month] the months lie on a circle." in seen.text


def test_a_users_own_texts_are_studied(mills, own):
    _check(mills, own, TABLES, PLOTS)
    run = Run.open(mills.parent)
    cells = run.table("cells-1")
    assert set(cells.word) == {"count", "river", "each"}
    assert cells[cells.word == "count"].survives.any()
    statements = [c["statement"] for c in run.results()["claims"]]
    assert not any("unrelated word" in statement for statement in statements)
    assert "The map fitted at count reads the label at each." in statements


def test_texts_with_one_span_are_studied_at_that_word_alone(own, tmp_path):
    path = tmp_path / "one.csv"
    with own.data.open(newline="") as given, path.open("w", newline="") as file:
        csv.writer(file).writerows(row[:4] for row in csv.reader(given))
    chosen = dataclasses.replace(own, data=path)
    report = STUDY.run(chosen).report
    _check(report, chosen, TABLES, PLOTS - 3)
    claims = Run.open(report.parent).results()["claims"]
    (plane,) = (c for c in claims if "along shared directions" in c["statement"])
    assert plane["verdict"] == "not testable here"


def test_a_second_run_reads_the_same_store_and_finds_the_same(mills, own):
    stores = {f: f.stat().st_mtime_ns for f in own.store.glob("*/shard-*")}
    again = STUDY.run(own).report
    assert again != mills
    assert {f: f.stat().st_mtime_ns for f in own.store.glob("*/shard-*")} == stores
    results = [json.loads((p.parent / "results.json").read_text()) for p in (mills, again)]
    assert results[0] == results[1]


def test_permuted_labels_leave_no_surviving_cell(mills, own):
    path = STUDY.run(dataclasses.replace(own, permute_dates=True)).report
    assert Run.open(mills.parent).table("cells-1").survives.any()
    assert not Run.open(path.parent).table("cells-1").survives.any()


def test_several_models_share_one_report(own, checkpoint, tmp_path):
    other = tmp_path / "tiny-qwen"
    tiny_hf("qwen3", num_hidden_layers=2).save_pretrained(other)
    tiny_tokenizer("qwen3").save_pretrained(other)
    path = STUDY.run(dataclasses.replace(own, model=(checkpoint, str(other)))).report
    assert "the models side by side" in path.read_text()
    run = Run.open(path.parent)
    claims = run.results()["claims"]
    assert {c["subject"] for c in claims} == {checkpoint, str(other)}
    for number, model in enumerate((checkpoint, str(other)), start=1):
        assert set(run.table(f"cells-{number}").model) == {model}


def test_the_command_line_explains_every_field_and_refuses_what_it_does_not_know(capsys):
    with pytest.raises(SystemExit):
        parse(Config, ["--help"], prog="date", description="")
    shown = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in shown
    assert "Cross-validation folds, grouped by date" in shown
    for unknown in (["--sentences", "3"], ["--task", "season"], ["--people", "3"]):
        with pytest.raises(SystemExit) as refused:
            parse(Config, unknown, prog="date", description="")
        assert refused.value.code == 2
    given = ["--model", "a", "--model", "b", "--task", "age", "--standardise", "all"]
    chosen = parse(Config, given, prog="x", description="")
    assert (chosen.model, chosen.task, chosen.standardise) == (("a", "b"), "age", "all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"permutations": 10}, "permutations = 10; it must be at least 40"),
        ({"orders": 5}, "orders = 5; it must be at least 20"),
        ({"depth": -1.0}, "depth = -1.0; choose from 0 to 100 % of the blocks"),
        ({"depth": 100.5}, "depth = 100.5; choose from 0 to 100 % of the blocks"),
        ({"model": ()}, "name one or more models, each once"),
        ({"model": ("a", "a")}, "name one or more models, each once"),
    ],
)
def test_a_configuration_that_cannot_be_run_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)
