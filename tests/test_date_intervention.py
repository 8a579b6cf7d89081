"""Interventions of the date study: on a model that really copies the date, and in whole runs."""

import copy
import dataclasses

import numpy as np
import pytest
from planted_texts import CONFIG, Planted, few_words
from tiny_models import tiny_bridge, tiny_hf, tiny_tokenizer
from trained_gpt2 import birthdays

from interp.extract import extract
from interp.intervene import active, patch
from interp.model import load, residual_stream
from interp.positions import Sample, align
from interp.run import Run
from interp.smds import PatchedPairs
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
    pairs = PatchedPairs.draw(data.groups, 40, seed=0)
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
    subject = Planted(data, {}, config=dataclasses.replace(CONFIG, interventions=40))
    parts = [subject.ask(interventions.patching), subject.ask(interventions.turning)]
    assert subject.ask(interventions.outcome) is None
    assert all(not part.sections for part in parts)
    claims = [claim for part in parts for claim in part.claims]
    assert [claim.verdict for claim in claims] == ["described"] * 2
    assert all(lacking in claim.reason for claim in claims)
    left_out = Planted(data, {})
    assert left_out.ask(interventions.patching) == Part() == left_out.ask(interventions.turning)
    assert left_out.ask(interventions.outcome) is None


def test_attention_is_shown_in_the_first_text_that_is_short_enough():
    data = few_words("birthday", 24)
    long = [Sample(s.text + " and so on" * 200, s.spans) for s in data.samples]
    subject = Planted(dataclasses.replace(data, samples=[long[0], *data.samples[1:]]), {})
    subject.model = tiny_bridge("gpt2", n_positions=1024)
    (section,) = subject.ask(interventions.attention).sections
    assert "attention of block" in section.title
    subject = Planted(dataclasses.replace(data, samples=long), {})
    subject.model = tiny_bridge("gpt2", n_positions=1024)
    (section,) = subject.ask(interventions.attention).sections
    assert section.body == ["Every text is too long for a picture of it."]


def test_fewer_pairs_than_none_are_refused():
    with pytest.raises(ValueError, match="interventions = -1; it must be at least 0"):
        Config(interventions=-1)
