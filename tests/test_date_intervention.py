"""Interventions of the date study: on a model that really copies the date, and in whole runs."""

import copy
import dataclasses

import numpy as np
import pytest
from planted_texts import CONFIG, Planted, few_words
from tiny_models import tiny_hf, tiny_tokenizer
from trained_gpt2 import birthdays

from interp.extract import extract
from interp.intervene import active, patch
from interp.model import load, residual_stream
from interp.positions import Sample, align
from interp.run import Run
from interp.smds.patching import Pairs, share_moved
from interp.smds.turning import cyclic_pattern, per_degree, stretched, turn
from interp.stats import permutation_test
from interp.study import Part
from studies.date_manifold import data as texts_of
from studies.date_manifold import interventions
from studies.date_manifold.__main__ import STUDY, Config
from studies.date_manifold.data import FIRST_DAY, MONTHS, Dataset
from studies.date_manifold.interventions import (
    DOSES,
    Edited,
    Reader,
    depths_before,
    patch_words,
    readable,
    turn_words,
)

# --- the measures, on angles that are known ------------------------------------------------------


def _angles(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 2 * np.pi, n), rng.uniform(0, 2 * np.pi, n)


def test_share_is_0_without_an_effect_1_for_a_full_move_and_linear_between():
    own, donor = _angles()
    rng = np.random.default_rng(1)
    # a map that shrinks, and errs: the share must not know of it
    noise = rng.normal(size=(2, 200)) + 1j * rng.normal(size=(2, 200))
    before, there = 0.6 * np.exp(1j * np.stack([own, donor])) + 0.05 * noise
    share = {part: share_moved(before + part * (there - before), before, there, own, donor)
             for part in (0.0, 0.5, 1.0)}  # fmt: skip
    assert share[0.0] == 0
    assert share[0.5] == pytest.approx(0.5, abs=1e-12)
    assert share[1.0] == pytest.approx(1, abs=1e-12)


def test_share_has_no_seam_at_the_turn_of_the_year():
    # receivers on the last day, donors on the third: two days, not 363
    own, donor = _angles(60)
    before, there = np.exp(1j * own), np.exp(1j * donor)
    shifted = [angle + 2 * np.pi * turns for turns, angle in ((1, own), (-2, donor))]
    plain = share_moved(there, before, there, own, donor)
    assert share_moved(there, before, there, *shifted) == pytest.approx(plain, abs=1e-9)
    close = np.mod(own - 0.02, 2 * np.pi)
    assert share_moved(np.exp(1j * close), before, np.exp(1j * close), own, close) == (
        pytest.approx(1, abs=1e-9)
    )


def test_an_edit_that_only_wipes_the_label_out_moves_it_nowhere():
    own, donor = _angles(2000)
    before, there = np.exp(1j * own), np.exp(1j * donor)
    share = share_moved(np.zeros_like(before), before, there, own, donor)
    # own and donor labels are independent, so that 2000 of them correlate by chance alone
    assert abs(share) < 0.05


def test_a_turn_is_measured_over_the_seam_and_its_slope_is_degrees_per_degree():
    own, _ = _angles(50)
    plain = np.exp(1j * own)
    edited = np.stack([0.3 * plain * np.exp(1j * np.radians(0.4 * dose)) for dose in DOSES])
    degrees = turn(edited, plain)
    np.testing.assert_allclose(degrees, [0.4 * dose for dose in DOSES], atol=1e-9)
    assert per_degree(degrees, DOSES) == pytest.approx(0.4)
    assert turn(plain, plain) == pytest.approx(0, abs=1e-12)


def test_a_pattern_is_the_plane_that_was_planted_and_a_stretched_one_has_its_size():
    own, _ = _angles(100)
    rng = np.random.default_rng(3)
    planted = rng.standard_normal((2, 30))
    rows = np.column_stack([np.cos(own), np.sin(own)]) @ planted + rng.standard_normal(30)
    np.testing.assert_allclose(cyclic_pattern(rows, own), planted, atol=1e-9)
    other = stretched(rng.standard_normal((2, 30)), planted)
    np.testing.assert_allclose(other @ other.T, planted @ planted.T, atol=1e-9)
    assert np.abs(other - planted).max() > 0.1


# --- a GPT-2 that was trained to repeat the date -------------------------------------------------

READ = 2
"""The last block of two, where "birthday" must hold the date that comes next."""


@pytest.fixture(scope="module")
def trained(copying_gpt2, tmp_path_factory):
    hf, tokenizer = copying_gpt2
    model = load(copy.deepcopy(hf), tokenizer=tokenizer)
    samples, days = birthdays(365, seed=3)
    data = Dataset(
        task="birthday", quantity="date", unit="days", samples=_named(samples),
        labels=days.astype(np.float64), period=365.0, shape="circular", groups=days,
        categories=MONTHS, category_noun="month",
        edges=np.append(FIRST_DAY, 365.0), source="month", destination="birthday",
        distractor="sport", before=2,
    )  # fmt: skip
    store = extract(
        model, data.samples, hooks=residual_stream(model), progress=False, batch_size=64,
        out=tmp_path_factory.mktemp("store") / "trained",
    )  # fmt: skip
    pairs = Pairs.draw(data.groups, 40, seed=0)
    reader = Reader(model, store, data, READ, pairs.training, alpha=1.0, batch_size=40)
    return reader, data, pairs


def _named(samples: list[Sample]) -> list[Sample]:
    words = ("name", "born", "month", "day", "plays", "sport", "birthday")
    return [Sample(s.text, {word: s.spans[word] for word in words}) for s in samples]


@pytest.fixture(scope="module")
def patched(trained):
    reader, data, pairs = trained
    return patch_words(reader, pairs, ("month", "sport"), (0, 1, READ))


def test_nothing_is_fitted_on_a_date_that_is_decoded(trained):
    _, data, pairs = trained
    assert len(pairs.receivers) == len(pairs.donors) == 40
    rows = np.concatenate([pairs.receivers, pairs.donors])
    assert len(set(data.groups[rows])) == 80
    assert not set(data.groups[pairs.training]) & set(data.groups[rows])


def test_the_month_carries_the_date_to_the_birthday_and_the_sport_does_not(trained, patched):
    reader, data, pairs = trained
    assert readable(reader, pairs) > 0.8
    shares = patched.moved(n_permutations=200, seed=0)
    month, sport = shares.share[:, :2]
    # the date is fetched in the first block: it is the embedding that "birthday" attends to
    assert month[0] == pytest.approx(1, abs=0.05)
    assert (np.abs(sport) < 0.01).all() and abs(month[1]) < 0.05
    assert shares.test.p_family[0, 0] < 0.01 < 0.1 < shares.test.p_family[1].min()
    assert shares.low[0, 0] > 0.9 and shares.high[1, 0] < 0.1


def test_patching_where_the_destination_is_read_changes_nothing(patched):
    assert (patched.patched[:, -1] == patched.receiver).all()
    assert (patched.share()[:, -1] == 0).all()


def test_donors_of_other_receivers_are_no_donors(patched):
    rng = np.random.default_rng(5)
    null = [patched.share(dealt=rng.permutation(40))[0, 0] for _ in range(200)]
    # 40 pairs: shares of dealt donors scatter around 0 by about 1 / sqrt(40)
    assert abs(np.mean(null)) < 0.05
    wrong = patched.share(dealt=np.roll(np.arange(40), 1))[0, :1]
    test = permutation_test(wrong, np.array(null)[:, None])
    assert 0.01 < test.p[0] < 0.99


def test_the_edit_reaches_the_word_and_no_other(trained):
    """The reader's own run under a patch is what the model gives by hand, and nothing stays."""
    reader, data, pairs = trained
    texts, hook = pairs.receivers[:3], reader.store.hooks[1]
    values = reader.activations(1, "month")[pairs.donors[:3]][:, None]
    places = reader.places(texts, "month")
    edited = reader.run(
        texts, lambda p: patch(reader.model, {hook: values[p]}, positions=places[p])
    )
    by_hand = []
    for row, text in enumerate(texts):
        (aligned,) = align(reader.model.tokenizer, [data.samples[text]], ["birthday"])
        with patch(reader.model, {hook: values[row : row + 1]}, positions=places[row]):
            _, cache = reader.model.run_with_cache(
                reader.model.tokenizer(data.samples[text].text, return_tensors="pt").input_ids
            )
        destination = aligned.tokens[0][-1]
        by_hand.append(cache[reader.store.hooks[READ]][0, destination].detach().numpy())
    # batches of another size round differently
    np.testing.assert_allclose(edited, reader.decode(np.array(by_hand)), atol=1e-4)
    assert active(reader.model) == ()
    np.testing.assert_allclose(reader.run(texts), reader.decode(reader.stored[texts]), atol=1e-4)


def _turned(data: Dataset, result: Edited) -> tuple[Part, str | None]:
    """What is said of edited runs, and their outcome in words."""
    subject = Planted(data, {}, answers={interventions.edited: result})
    return subject.ask(interventions.turning), subject.ask(interventions.outcome)


def test_turning_the_month_turns_the_birthday_as_no_other_plane_does(trained, patched):
    reader, data, pairs = trained
    turning = turn_words(reader, pairs, 0, planes=40, seed=0)
    shares = patched.moved(n_permutations=1, seed=0)
    part, outcome = _turned(data, Edited(READ, 0.9, shares, turning))
    (claim,) = part.claims
    assert claim.estimate == turning.slope()[0]
    assert outcome is not None and "turns it by" in outcome
    degrees = turning.degrees()[0]
    assert (np.diff(degrees) > 0).all()  # a larger turn turns further
    assert [len(slopes) for slopes in turning.others.values()] == [40, 20]
    for kind, slopes in turning.others.items():
        assert abs(slopes.mean()) < turning.slope()[0] / 4, kind
    unread, _ = _turned(data, Edited(READ, -0.1, shares, turning))
    assert unread.claims[0].estimate is None and "reads unedited" in unread.claims[0].reason


def test_depths_are_those_before_the_destination_is_read():
    assert depths_before(1) == (0,)
    assert depths_before(3) == (0, 1, 2)
    assert depths_before(17) == (0, 3, 6, 10, 13, 16)


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-llama")
    tiny_hf("llama", num_hidden_layers=3).save_pretrained(path)
    tiny_tokenizer("llama").save_pretrained(path)
    root = tmp_path_factory.mktemp("runs")
    return Config(
        model=(str(path),), n=60, folds=2, permutations=40, device="cpu", jobs=1, runs=root,
        store=root / "stores",
    )  # fmt: skip


def _claims(report) -> dict[str, dict]:
    claims = Run.open(report.parent).results()["claims"]
    return {
        c["statement"]: c
        for c in claims
        if c["statement"].startswith(("How far", "The word birthday carries"))
    }


@pytest.fixture(scope="module")
def report(config):
    with pytest.MonkeyPatch.context() as patcher:
        patcher.setattr(texts_of, "generate", few_words)
        yield STUDY.run(config).report


def test_a_run_leaves_claims_tables_and_a_causal_test(report):
    run = Run.open(report.parent)
    patching, turning = run.table("patching-1"), run.table("turning-1")
    assert set(patching.word) == {"[month]", "[sport]"}
    assert np.isfinite(patching[["share", "low", "high", "p_family"]]).all(axis=None)
    assert len(turning) == 2 * len(DOSES) + 2
    claims = _claims(report)
    assert len(claims) == 3
    for claim in claims.values():
        assert "patching [month]" in claim["causal_test"] or "turning" in claim["causal_test"]
    page = report.read_text()
    assert "Whose date does birthday hold?" in page and "Vectors added to 15 texts" in page


def test_texts_about_two_people_are_intervened_on(config, monkeypatch):
    monkeypatch.setattr(texts_of, "generate", few_words)
    path = STUDY.run(dataclasses.replace(config, people=2)).path
    assert {"patching-1", "turning-1"} <= {p.stem for p in path.glob("*.parquet")}


@pytest.mark.parametrize(
    ("data", "lacking"),
    [
        (few_words("age", 60), "an age that is a cycle"),
        (dataclasses.replace(few_words("weekday", 60), distractor=None), "nothing to do with it"),
        (dataclasses.replace(few_words("birthday", 24), distractor=None), "nothing to do with it"),
    ],
)
def test_texts_that_do_not_allow_it_say_what_they_lack(data, lacking):
    subject = Planted(data, {})
    parts = [subject.ask(interventions.patching), subject.ask(interventions.turning)]
    assert subject.ask(interventions.outcome) is None
    assert all(not part.sections for part in parts)
    claims = [claim for part in parts for claim in part.claims]
    assert [claim.verdict for claim in claims] == ["described"] * 2
    assert all(lacking in claim.reason for claim in claims)
    left_out = Planted(data, {}, config=dataclasses.replace(CONFIG, interventions=0))
    assert left_out.ask(interventions.patching) == Part() == left_out.ask(interventions.turning)
    assert left_out.ask(interventions.outcome) is None


def test_fewer_pairs_than_none_are_refused():
    with pytest.raises(ValueError, match="interventions = -1; it must be at least 0"):
        Config(interventions=-1)
