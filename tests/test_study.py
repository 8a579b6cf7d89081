"""The runner of studies: what is refused before a model is loaded, what is remembered, and what is
kept when a model fails."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from tiny_models import tiny_hf, tiny_tokenizer

from interp import study
from interp.claims import description, finding
from interp.positions import Sample, find
from interp.report import Section
from interp.run import Run
from interp.texts import Texts

CALLS = []


@dataclass(frozen=True, kw_only=True)
class Config(study.Config):
    """A few words about mills."""

    n: int = 12
    """Texts."""
    permutations: int = 40
    """Of labels."""


def texts(config: Config) -> Texts:
    sentences = [
        f"The {'north' if i % 2 else 'south'} mill number {i} is old." for i in range(config.n)
    ]
    samples = [Sample(text, {"mill": find(text, "mill")}) for text in sentences]
    return Texts(samples=samples, labels=np.arange(config.n) % 2)


def lengths(subject, texts) -> np.ndarray:
    CALLS.append(subject.name)
    return np.array([np.linalg.norm(X, axis=-1).mean() for _, X in subject.activations()])


def growth(subject, texts) -> study.Part:
    """Does the stream grow?"""
    length = subject.ask(lengths)
    table = pd.DataFrame({"depth": subject.depths, "length": length})
    claim = description("Does it grow?", "The stream's length at the end.", estimate=length[-1])
    return study.Part(
        claims=[claim],
        tables={"lengths": table},
        results={"deepest": subject.depths[-1]},
        row={"length": length[-1]},
        words=["It was measured."],
    )


def widest(subject, texts) -> study.Part:
    """Where is it longest?"""
    best = int(subject.ask(lengths).argmax())
    claim = finding("Where?", "It is longest somewhere.", tests={"chance": 0.001}, exchange="text")
    return study.Part(claims=[claim], sections=[Section("Longest", [subject.depths[best]])])


def together(subjects, texts) -> study.Part:
    """Which model is longest?"""
    names = [s.name for s in sorted(subjects, key=lambda s: s.ask(lengths)[-1])]
    return study.Part(claims=[description("Which?", f"Of {len(names)} models one is longest.")])


STUDY = study.Study(
    name="mills",
    config=Config,
    texts=texts,
    questions=[growth, widest],
    comparisons=[together],
    method=lambda subjects, texts: [f"{len(texts.samples)} texts, {len(subjects)} models."],
    title="How long is a mill?",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, layers in (("two", 2), ("three", 3)):
        tiny_hf("llama", num_hidden_layers=layers).save_pretrained(root / name)
        tiny_tokenizer("llama").save_pretrained(root / name)
    return str(root / "two"), str(root / "three")


@pytest.fixture
def options(tmp_path):
    return {"device": "cpu", "runs": tmp_path, "store": tmp_path / "stores"}


def test_every_question_is_asked_of_every_model_and_answers_are_remembered(models, options):
    CALLS.clear()
    outcome = STUDY.run(Config(model=models, **options))
    assert list(models) == CALLS and outcome.failed == {}
    assert [c.subject for c in outcome.claims] == [models[0]] * 2 + [models[1]] * 2 + [""]
    assert {c.verdict for c in outcome.claims} == {"described", "supported"}
    run = Run.open(outcome.path)
    assert list(run.table("lengths-1").depth) == ["embedding", "block 0", "block 1", "final norm"]
    assert set(run.results()) == {"claims", "deepest-1", "deepest-2"}
    assert run.results()["deepest-2"] == "final norm"
    assert set(run.manifest["recorded"]) >= {"texts", f"model {models[0]}", f"model {models[1]}"}
    page = outcome.report.read_text()
    for words in ("How long is a mill?", "12 texts, 2 models.", "It was measured.", "Longest"):
        assert words in page
    assert ">index<" not in page  # the table of models side by side has rows with names
    assert str(outcome) == str(outcome.report) and len(outcome.table()) == 5


def looks_at_depths(subject, texts) -> study.Part:
    """Depths by number, percent and name."""
    by_number = [subject.activations_at(row) for row in range(len(subject.depths))]
    for here, (_, there) in zip(by_number, subject.activations(), strict=True):
        np.testing.assert_array_equal(here, there)
    assert [subject.row_at(percent) for percent in (0, 50, 60, 100)] == [0, 1, 1, 2]
    assert [subject.depths[row] for row in subject.middle] == ["block 0"]
    return study.Part()


def test_depths_go_by_number_and_a_title_speaks_of_the_texts(models, options):
    titled = study.Study(
        name="mills", config=Config, texts=texts, questions=[looks_at_depths],
        title="What of {texts.positions[0]}s?",
    )  # fmt: skip
    outcome = titled.run(Config(model=models[:1], **options))
    assert "<title>What of mills?" in outcome.report.read_text()


def test_a_comparison_needs_several_models(models, options):
    outcome = STUDY.run(Config(model=models[:1], **options))
    assert {c.subject for c in outcome.claims} == {models[0]}


def fails_at_three(subject, texts) -> study.Part:
    """Fails where there are three blocks."""
    if subject.model.cfg.n_layers == 3:
        raise RuntimeError("three is too many")
    return study.Part()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_model_that_fails_leaves_the_reports_of_the_others(models, options, order, capsys):
    asked = tuple(models[i] for i in order)
    failing = study.Study(
        name="mills", config=Config, texts=texts, questions=[growth, fails_at_three]
    )
    outcome = failing.run(Config(model=asked, **options))
    assert outcome.failed == {models[1]: "RuntimeError: three is too many"}
    assert {c.subject for c in outcome.claims} == {models[0]}
    assert "three is too many" in outcome.report.read_text()
    assert "three is too many" in capsys.readouterr().err
    assert Run.open(outcome.path).manifest["recorded"]["failed"] == outcome.failed


def apart(subjects, texts) -> study.Part:
    """Fails when it comes to compare."""
    raise RuntimeError("they cannot be compared")


def test_a_comparison_that_fails_leaves_the_report_and_the_others(models, options, capsys):
    failing = study.Study(
        name="mills", config=Config, texts=texts, questions=[growth], comparisons=[apart, together]
    )
    outcome = failing.run(Config(model=models, **options))
    assert outcome.failed == {"apart": "RuntimeError: they cannot be compared"}
    assert {c.subject for c in outcome.claims} == {*models, ""}
    assert "they cannot be compared" in outcome.report.read_text()
    assert "they cannot be compared" in capsys.readouterr().err


def test_the_only_model_that_fails_leaves_its_error(models, options, tmp_path):
    failing = study.Study(name="mills", config=Config, texts=texts, questions=[fails_at_three])
    with pytest.raises(RuntimeError, match="three is too many"):
        failing.run(Config(model=models[1:], **options))
    (path,) = (tmp_path / "mills").iterdir()
    assert "three is too many" in (path / "error.txt").read_text()
    assert not (path / "manifest.json").exists()


def returns_a_number(subject, texts) -> float:
    return 1.0


def unannotated(subject, texts):
    return study.Part()


@study.asks("mill", "river")
def by_the_river(subject, texts) -> study.Part:
    """Reads a span that is not there."""
    return study.Part()


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([growth, growth], "two questions named 'growth'"),
        ([], "has no questions"),
        ([growth, returns_a_number], "'returns_a_number' is annotated to return <class 'float'>"),
        ([unannotated], "'unannotated' is annotated to return None"),
        ([by_the_river], "'by_the_river' reads 'river'; the texts have the positions mill"),
    ],
)
def test_bad_questions_are_refused_before_a_model_is_loaded(
    questions, message, models, options, tmp_path
):
    with pytest.raises(ValueError, match=message):
        made = study.Study(name="mills", config=Config, texts=texts, questions=questions)
        made.run(Config(model=models, **options))
    assert list(tmp_path.iterdir()) == []


def test_a_second_model_that_does_not_exist_is_refused_before_the_first(models, options, tmp_path):
    with pytest.raises(ValueError, match="no such directory"):
        STUDY.run(Config(model=(models[0], str(tmp_path / "nowhere")), **options))
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_option_is_refused():
    with pytest.raises(TypeError, match="permutation"):
        Config(permutation=3)


def test_questions_may_be_named_so_that_nothing_is_imported_for_help(models, options):
    named = study.Study(
        name="mills",
        config=Config,
        texts=f"{__name__}:texts",
        questions=[f"{__name__}:growth"],
        method=f"{__name__}:_method",
    )
    outcome = named.run(Config(model=models[:1], **options))
    assert "Said by name." in outcome.report.read_text()


def _method(subjects, texts):
    return ["Said by name."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"revision": ("main", "v2")}, "give one for each of the 1 models"),
        ({"device": "cpu", "device_map": "auto"}, "not both"),
    ],
)
def test_options_of_loading_that_contradict_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Config(**change)


def test_options_of_loading_reach_the_model_and_the_manifest(models, tmp_path):
    root = {"runs": tmp_path, "store": tmp_path / "stores"}
    outcome = STUDY.run(Config(model=models[:1], dtype="bfloat16", device_map="cpu", **root))
    run = Run.open(outcome.path)
    assert run.manifest["recorded"][f"model {models[0]}"]["dtype"] == "bfloat16"
    assert run.manifest["config"]["device_map"] == "cpu"
    with pytest.raises(ValueError, match="random ones are not"):
        STUDY.run(Config(model=(f"random:{models[0]}",), quantise="4bit", **root))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": []}, "samples is empty"),
        ({"labels": np.zeros(3)}, "labels has 3 entries for 2 samples"),
        ({"groups": np.zeros(5)}, "groups has 5 entries for 2 samples"),
        ({"labels": np.array([0, 7]), "period": 7.0}, r"label 7 of row 1 is not in \[0, 7\)"),
    ],
)
def test_texts_that_do_not_fit_are_refused(change, message):
    samples = [Sample(t, {"mill": find(t, "mill")}) for t in ("A mill.", "The mill stands.")]
    with pytest.raises(ValueError, match=message):
        Texts(**{"samples": samples, "labels": np.arange(2)} | change)


def test_texts_give_methods_their_design():
    samples = [Sample(t, {"mill": find(t, "mill")}) for t in ("A mill.", "The mill stands.")]
    made = Texts(samples=samples, labels=np.arange(2), period=7.0)
    assert set(made.design) == {"y", "groups", "period"} and made.positions == ("mill",)
    assert made.fingerprint() != Texts(samples=samples, labels=np.arange(2)).fingerprint()
