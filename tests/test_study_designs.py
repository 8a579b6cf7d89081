"""What a study does in place of a run: plan, power, registration, replicates."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_models import tiny_hf, tiny_tokenizer
from transformers import AutoModelForCausalLM

from interp import study
from interp.claims import description, finding, judged
from interp.files import as_json
from interp.model import load, resid_post, residual_stream, z
from interp.positions import Sample, find
from interp.run import Run
from interp.stats import random_effects
from interp.store import Store
from interp.study import Subject, _needs, _replicates
from interp.texts import Texts
from studies import __main__ as studies_main
from studies import template

STUDY = study.Study(
    name="number", config=template.Config, texts=template.texts, questions=[template.kept]
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, seed in (("one", 0), ("other", 1)):
        hf = tiny_hf("llama", seed=seed, head_dim=16)
        hf.save_pretrained(root / name)
        tiny_tokenizer("llama").save_pretrained(root / name)
    return str(root / "one"), str(root / "other")


def _config(models, tmp_path, **options) -> Any:
    places = {"runs": tmp_path, "store": tmp_path / "stores", "device": "cpu"}
    return template.Config(**{"model": models[:1], "permutations": 40} | places | options)


# --- plan ----------------------------------------------------------------------------------------


def heads(subject: Subject, texts: Texts) -> study.Part:
    """What do heads write?"""
    subject.stores.extract("heads", subject.model, texts.samples, hooks=[z(0), resid_post(1)])
    return study.Part()


def test_a_plan_foresees_what_a_run_stores_and_reads_no_weight(models, tmp_path, monkeypatch):
    asking = dataclasses.replace(STUDY, questions=[template.kept, heads])
    config = _config(models, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(AutoModelForCausalLM, "from_pretrained", None)
        foreseen = asking.plan(config)
    assert not (tmp_path / "stores").exists() and not (tmp_path / "number").exists()
    asking.run(config)
    stores = [Store.open(path) for path in (tmp_path / "stores").iterdir()]
    assert len(stores) == 2
    stored = sum(s.plan.bytes_per_sample() * s.plan.n_samples for s in stores)
    row = foreseen.models.loc[models[0]]
    assert row["stored"] * 1e9 == pytest.approx(stored, rel=1e-9)
    hf = load(models[0], device="cpu").original_model
    assert row["weights"] * 1e9 == pytest.approx(4 * sum(p.numel() for p in hf.parameters()))
    assert "it fits" in str(foreseen)


@pytest.mark.parametrize(
    ("place", "word"), [("free_memory", "GB of memory"), ("free_disk", "GB of disk")]
)
def test_a_plan_says_what_does_not_fit(models, tmp_path, monkeypatch, place, word):
    monkeypatch.setattr(_needs, place, lambda _: 1e-6)
    monkeypatch.setattr("sys.argv", ["number", "--plan", "--model", models[0]])
    foreseen = STUDY.plan(_config(models, tmp_path))
    (why,) = foreseen.too_large
    assert word in why and f"does not fit: {why}" in str(foreseen)
    with pytest.raises(SystemExit) as ended:
        STUDY.main(prog="number")
    assert ended.value.code == 1


# --- power ---------------------------------------------------------------------------------------


def looks_inside(subject: Subject, texts: Texts) -> study.Part:
    """Needs more than activations."""
    return study.Part(claims=[description("Which?", f"{subject.model.cfg.n_layers} blocks.")])


def test_a_large_planted_effect_is_found_and_none_is_not(models, tmp_path):
    asking = dataclasses.replace(STUDY, questions=[template.kept, looks_inside])
    shown = asking.power(_config(models, tmp_path, power=(3.0,)))
    counts = shown.counts.set_index("size")["supported"]
    assert counts[3.0] == 20 and counts[0.0] <= 4
    assert shown.left_out == ("looks_inside",)
    assert shown.detectable().to_numpy().tolist() == [[3.0]]
    assert "64 texts" in str(shown) and "looks_inside" in str(shown)
    assert not (tmp_path / "number").exists()  # nothing was run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Days(study.Config):
    """Days of the week."""

    n: int = 40
    """Texts."""


def days(config: Days) -> Texts:
    """Days in a row."""
    samples = [Sample(f"Day {k} it is", {"is": find(f"Day {k} it is", "is")}) for k in range(7)]
    chosen = np.arange(config.n) % 7
    return Texts(samples=[samples[k] for k in chosen], labels=chosen.astype(float), period=7)


SIZES: list[tuple[int, float]] = []


def far(subject: Subject, texts: Texts) -> study.Part:
    """How far do the days lie from their mean?"""
    (_, cell), *_ = subject.cells("is", between=(60, 70))
    means = np.stack([cell[texts.labels == day, 3:].mean(axis=0) for day in range(7)])
    length = np.linalg.norm(means - means.mean(axis=0), axis=1)
    SIZES.append((len(texts.samples), float(length.mean())))
    p = {"chance": 0.01 if length.mean() > 1.5 else 0.6}
    return study.Part(claims=[finding("Far?", "Days lie apart.", tests=p, exchange="text")])


def test_fewer_texts_are_rehearsed_where_a_study_generates_them():
    SIZES.clear()
    about = study.Study(name="days", config=Days, texts=days, questions=[far])
    shown = about.power(Days(n=280, power=(2.0,)))
    assert shown.counts["texts"].unique().tolist() == ["70 texts", "140 texts", "280 texts"]
    planted = [length for n, length in SIZES if n == 280][-20:]
    # a circle whose two axes have a standard deviation of 2 has radius 2 sqrt 2
    assert np.mean(planted) == pytest.approx(2 * np.sqrt(2), rel=0.15)


def test_texts_into_which_nothing_can_be_planted_are_refused(models, tmp_path):
    class Others:
        positions = ("before the verb",)

        def fingerprint(self) -> str:
            return ""

        def describe(self) -> str:
            return "others"

    asking = dataclasses.replace(STUDY, texts=lambda config: Others())
    with pytest.raises(ValueError, match="how to plant an effect into Others; give the study"):
        asking.power(_config(models, tmp_path, power=(1.0,)))
    only = dataclasses.replace(STUDY, questions=[looks_inside])
    with pytest.raises(ValueError, match="no question can be asked without a model: looks_inside"):
        only.power(_config(models, tmp_path, power=(1.0,)))


# --- registration --------------------------------------------------------------------------------


def another(subject: Subject, texts: Texts) -> study.Part:
    """A question of later."""
    tests = {"chance": 0.04}
    return study.Part(claims=[finding("Later?", "It is so.", tests=tests, exchange="text")])


def test_what_was_registered_is_told_from_what_was_added(models, tmp_path):
    path = tmp_path / "registered.json"
    registered = STUDY.register(_config(models, tmp_path, register=path))
    assert "1 findings" in str(registered) and not (tmp_path / "number").exists()
    config = _config(models, tmp_path, registered=path)
    more = dataclasses.replace(STUDY, questions=[template.kept, another])
    outcome = more.run(config)
    known, added = outcome.claims
    assert (known.registered, added.registered) == (True, False)
    manifest = Run.open(outcome.path).manifest
    assert manifest["recorded"]["registration"] == registered.digest
    # alone, the registered finding is corrected for itself only
    (alone,) = STUDY.run(config).claims
    assert alone.p_adjusted == known.p_adjusted == known.p
    assert added.p_adjusted == pytest.approx(min(1, 2 * 0.04))
    plain = more.run(_config(models, tmp_path))
    assert [claim.registered for claim in plain.claims] == [None, None]


def test_an_exploratory_finding_costs_the_others_nothing():
    first = finding("a", "b", tests={"chance": 0.03}, exchange="text")
    second = finding("a", "c", tests={"chance": 0.001}, exchange="text")
    both = judged([first, dataclasses.replace(second, registered=False)])
    assert [claim.p_adjusted for claim in both] == pytest.approx([0.03, 0.002])
    assert "exploratory" in both[1].reason and "exploratory" not in both[0].reason
    assert judged([first, second])[0].p_adjusted == pytest.approx(0.03)
    assert judged([second, dataclasses.replace(first, tests={}, p=0.02, needs="x")])


def _changed(content: dict) -> str:
    content["content"]["options"]["folds"] = 2
    return as_json(content)


def test_another_run_than_the_registered_is_refused(models, tmp_path, monkeypatch):
    path = tmp_path / "registered.json"
    STUDY.register(_config(models, tmp_path, register=path))
    with pytest.raises(ValueError, match="is there already"):
        STUDY.register(_config(models, tmp_path, register=path))
    with pytest.raises(ValueError, match="permutations = 41, but 40 was registered"):
        STUDY.run(_config(models, tmp_path, registered=path, permutations=41))
    with pytest.raises(ValueError, match="'number' was registered, not 'other'"):
        dataclasses.replace(STUDY, name="other").run(_config(models, tmp_path, registered=path))
    fewer = dataclasses.replace(STUDY, texts=lambda config: _half(template.texts(config)))
    with pytest.raises(ValueError, match="the texts are not those"):
        fewer.run(_config(models, tmp_path, registered=path))
    STUDY.run(_config(models, tmp_path / "elsewhere", registered=path))  # where, not what
    path.write_text(_changed(json.loads(path.read_text())))
    with pytest.raises(ValueError, match="was changed after it was written"):
        STUDY.run(_config(models, tmp_path, registered=path))
    with pytest.raises(ValueError, match=r"nowhere.json is no registration"):
        STUDY.run(_config(models, tmp_path, registered=tmp_path / "nowhere.json"))
    assert not list((tmp_path / "number").iterdir() if (tmp_path / "number").exists() else ())


def _half(texts: Texts) -> Texts:
    return Texts(samples=texts.samples[:32], labels=texts.labels[:32], groups=texts.groups[:32])


def test_a_question_whose_module_changed_is_exploratory(models, tmp_path, monkeypatch):
    path = tmp_path / "registered.json"
    STUDY.register(_config(models, tmp_path, register=path))
    monkeypatch.setattr("inspect.getsource", lambda module: "otherwise")
    (claim,) = STUDY.run(_config(models, tmp_path, registered=path)).claims
    assert claim.registered is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan": True, "power": (1.0,)}, "give one of plan, power"),
        ({"replicates": 2, "plan": True}, "give one of plan, replicates"),
        ({"power": (-1.0,)}, "an effect's size is a number from 0 up"),
        ({"replicates": 0}, "replicates = 0; it must be at least 1"),
        ({"register": "a", "registered": "b"}, "registered has no part beside register"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        template.Config(**options)


def test_a_run_does_not_overlook_what_takes_its_place(models, tmp_path):
    with pytest.raises(ValueError, match="plan takes the place of a run"):
        STUDY.run(_config(models, tmp_path, plan=True))
    assert isinstance(STUDY.act(_config(models, tmp_path, plan=True)), study.Needs)


# --- replicates ----------------------------------------------------------------------------------


def drawn(subject: Subject, texts: Texts) -> study.Part:
    """An estimate that the seed and the model move."""
    rng = np.random.default_rng([subject.config.seed, subject.number])
    at, error = rng.normal(), 1.0 + subject.number
    limits = (at - 1.959964 * error, at + 1.959964 * error)
    claim = finding(
        "How much?", "It is much.", tests={"chance": 0.01}, exchange="text",
        estimate=at, interval=limits, unit=f"metres at block {subject.config.seed % 7}",
    )  # fmt: skip
    return study.Part(claims=[claim, description("And?", "Without an error.", estimate=2 * at)])


def test_replicates_are_combined_by_random_effects(models, tmp_path):
    about = study.Study(
        name="drawn", config=template.Config, texts=template.texts, questions=[drawn]
    )
    combined = about.replicate(_config(models, tmp_path, model=models, replicates=4))
    assert len(combined.runs) == 4
    runs = [Run.open(path) for path in combined.runs]
    seeds = [run.manifest["config"]["seed"] for run in runs]
    assert seeds[0] == 42 and len(set(seeds)) == 4
    effects = combined.effects.set_index(["statement", "model"])
    for name in models:
        claims = [
            claim
            for run in runs
            for claim in run.results()["claims"]
            if claim["subject"] == name and claim["statement"] == "It is much."
        ]
        estimates = np.array([claim["estimate"] for claim in claims])
        errors = np.array([claim["standard_error"] for claim in claims])
        assert errors == pytest.approx(np.full(4, 1.0 + 1 + models.index(name)))
        expected, row = random_effects(estimates, errors), effects.loc[("It is much.", name)]
        assert row["mean"] == pytest.approx(expected.mean)
        assert (row["low"], row["high"]) == pytest.approx(expected.interval)
        assert (row["supported"], row["findings"]) == (4, 4)
        assert row["unit"] == "metres"  # the block differs
        plain = effects.loc[("Without an error.", name)]
        assert plain["mean"] == pytest.approx(2 * estimates.mean()) and plain["findings"] == 0
    every = effects.loc[("It is much.", _replicates.EVERY)]
    assert every["estimates"] == 2 and every["supported"] == 8
    assert "It is much." in combined.report.read_text()
    kept = Run.open(combined.path).table("effects")
    pd.testing.assert_frame_equal(kept, combined.effects)


def test_runs_that_cannot_be_combined_are_refused(models, tmp_path):
    first = STUDY.run(_config(models, tmp_path)).path
    other = dataclasses.replace(STUDY, name="other").run(_config(models, tmp_path)).path
    for paths, message in (
        ([first], "give two or more"),
        ([first, first], "each once"),
        ([first, other], "several studies cannot be combined: number, other"),
        ([first, tmp_path], "holds no complete run"),
    ):
        with pytest.raises(ValueError, match=message):
            study.combined(paths, root=tmp_path)


def test_runs_are_combined_by_a_command(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs = [STUDY.run(_config(models, tmp_path, seed=seed)).path for seed in (1, 2)]
    assert studies_main.main(["combine", *map(str, runs)]) == 0
    report = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert report.name == "report.html" and report.exists()
    assert studies_main.main(["combine", str(runs[0])]) == 2
    assert "give two or more" in capsys.readouterr().err


def test_stores_that_note_know_the_widths_of_hooks(models):
    bridge = load(models[0], device="cpu")
    hooks = (*residual_stream(bridge), z(0))
    (sample,) = template.texts(template.Config()).samples[:1]
    noting = _needs.NotingStores("nowhere")
    with pytest.raises(_needs.Noted):
        noting.extract("name", bridge, [sample], hooks=hooks)
    (noted,) = noting.noted.values()
    assert noted.widths == (32,) * 5 + (64,) and noted.vectors == 1
