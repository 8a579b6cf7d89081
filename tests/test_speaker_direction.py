"""The direction of the speaker study: its ablation on tiny models, and in whole runs."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_models import tiny_bridge, tiny_hf, tiny_tokenizer

from interp.claims import judged
from interp.intervene import ablate, active
from interp.model import resid_post
from interp.probes import mean_difference
from interp.report import Table
from interp.run import Run
from interp.study import Part, Subject
from interp.transcripts import Transcript, parse_transcript
from studies.speaker_role import direction, naive, tokens
from studies.speaker_role.__main__ import STUDY, Config
from studies.speaker_role.data import SKIPPED, TURNS, Sources, opened, openings
from studies.speaker_role.direction import (
    STATEMENT,
    ablated,
    losses,
    measure,
    outcome,
)
from studies.speaker_role.probing import probes
from studies.speaker_role.tokens import preference


def _transcripts(names=("Ann", "Ben"), n=4, turns=10) -> list[Transcript]:
    return [
        parse_transcript(
            "\n".join(f"{names[t % len(names)]}: I will like {k} or {t}." for t in range(turns)),
            source=f"talk {k}",
        )
        for k in range(n)
    ]


# --- what is measured ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_an_opening_asks_for_every_tag_past_the_skipped_ones_at_the_token_before_it(family):
    bridge = tiny_bridge(family)
    (text, *_) = opened(bridge, _transcripts(turns=12))
    assert len(text.before) == TURNS - SKIPPED
    assert text.speaker.tolist() == [0, 1]
    decoded = bridge.tokenizer.decode(text.ids[0], skip_special_tokens=True)
    # cut before the last tag that is asked for, which the model is to predict
    assert decoded.count(":") == TURNS - 1 and "Ben" not in decoded.rpartition("4.")[2]
    assert text.before[-1] == text.ids.shape[1] - 1
    for place, speaker in zip(text.before[:-1], text.speaker, strict=False):
        assert (speaker, int(text.ids[0, place + 1])) in text.names


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "gemma2"])
def test_logits_are_those_of_the_whole_text(family):
    """Only some positions are unembedded: what they get must not depend on it."""
    bridge = tiny_bridge(family)
    (text, *_) = opened(bridge, _transcripts())
    direction = np.random.default_rng(0).standard_normal(32)
    with (
        torch.no_grad(),
        ablate(bridge, resid_post(0), direction, positions=range(1, text.ids.shape[1])),
    ):
        whole = bridge(text.ids)[:, text.before]
        some = bridge(text.ids, logits_to_keep=torch.from_numpy(text.before))
    assert some.shape == whole.shape
    torch.testing.assert_close(some, whole)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """A tiny model that is asked at three depths."""
    root = tmp_path_factory.mktemp("runs")
    config = Config(
        model=("tiny",), folds=2, permutations=40, seed=0, jobs=1, batch_size=16, runs=root,
        store=root / "stores",
    )  # fmt: skip
    with Run("speaker_role", config, root=root) as run, pytest.MonkeyPatch.context() as patch:
        patch.setitem(tokens.DEPTHS, "quarters", (0, 33, 100))
        asked = Subject("tiny", 1, config, Sources(tuple(_transcripts())), run)
        asked.model = tiny_bridge("llama", max_position_embeddings=512)
        asked.ask(probes)
        yield asked
        run.save_report("")


def _with(subject: Subject, sources: Sources, **options) -> Subject:
    """The same model and probes, ablated in other texts or by other options."""
    config = dataclasses.replace(subject.config, **options)
    known = {q: subject.ask(q) for q in (tokens.labelled_tokens, probes, direction.directions)}
    other = Subject("tiny", 1, config, sources, subject.run, _answers=known)
    other.model = subject.model
    return other


def test_a_direction_costs_what_the_stream_holds_of_it(subject):
    """Nothing where no token has any of it, all alike where tokens are told apart by it alone."""
    bridge, texts, block = subject.model, subject.ask(openings), 0
    hook = subject.ask(probes).tokens.store.hooks[1]
    assert hook == resid_post(block)
    stream = []
    for text in texts:
        with torch.no_grad():
            _, cache = bridge.run_with_cache(text.ids, names_filter=hook)
        stream.append(cache[hook][0, 1:].double())
    # all that these few texts' tokens hold but one axis: with it taken out, the axis is free
    axes = torch.linalg.svd(torch.cat(stream)).Vh
    names = next(iter(zip(*_ids(texts), strict=True)))

    def loss(direction: torch.Tensor, under: torch.Tensor) -> float:
        lost = 0.0
        for text in texts:
            with ablate(bridge, hook, under, positions=range(1, text.ids.shape[1])):
                # the context of `losses` opens inside of this one
                _, found = losses(bridge, text, names, hook, direction[None].numpy(), batch_size=1)
            lost += abs(found[0])
        return lost

    # float32 logits of about 10
    assert loss(axes[-1], under=axes[-1]) == pytest.approx(0, abs=1e-5)
    assert loss(axes[0], under=axes[-1]) > 0.1


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_many_directions_in_one_pass_give_what_ablate_gives_one_by_one(family):
    bridge = tiny_bridge(family)
    texts = opened(bridge, _transcripts())
    names = next(iter(zip(*_ids(texts), strict=True)))
    directions = np.random.default_rng(0).standard_normal((5, 32))
    plain, found = losses(bridge, texts[0], names, resid_post(1), directions, batch_size=3)
    positions = range(1, texts[0].ids.shape[1])
    for vector, lost in zip(directions, found, strict=True):
        with ablate(bridge, resid_post(1), vector, positions=positions):
            left = preference(bridge, texts[0], names)[0]
        # float32 in batches of another size
        assert plain - left == pytest.approx(lost, abs=1e-4)
    assert np.abs(found).max() > 0.01


def _ids(texts) -> list[set[int]]:
    return [{i for text in texts for s, i in text.names if s == speaker} for speaker in (0, 1)]


def test_directions_are_made_from_other_transcripts_than_they_are_tried_on(subject, monkeypatch):
    subject = _with(subject, subject.texts, ablations=40)
    bridge, probed, texts = subject.model, subject.ask(probes), subject.ask(openings)
    seen = []

    def spy(rows, labels):
        seen.append(len(rows))
        return mean_difference(rows, labels)

    monkeypatch.setattr(direction, "mean_difference", spy)
    got = measure(subject, (1, probed.grid.cells.index("last")))
    whole = len(probed.tokens.cells()["last"])
    # two folds of four equal transcripts: each time one half; the last call is that of the dealt
    assert seen[-1] == whole // 2
    assert got.before.shape == (4,)
    assert [v.shape for v in got.others.values()] == [(40, 4), (40, 4)]
    assert set(got.roles) == set(probed.grid.cells)
    assert np.isfinite(
        np.concatenate([*got.roles.values(), *got.others["random directions"]])
    ).all()
    # one text by hand: the loss of the first random direction
    text, random = texts[2], np.random.default_rng(subject.config.seed)
    vector = random.standard_normal((40, 32))[0]
    edit = ablate(bridge, resid_post(0), vector, positions=range(1, text.ids.shape[1]))
    names = next(iter(zip(*_ids([text]), strict=True)))
    with torch.no_grad(), edit:
        logits = bridge(text.ids)[0, text.before]
    gap = (logits[:, names[1]] - logits[:, names[0]]) * torch.tensor([-1.0, 1.0])
    expected = got.before[2] - gap.mean().item()
    assert got.others["random directions"][0, 2] == pytest.approx(expected, abs=1e-5)


CHANGES = "turns that change the speaker (%): where all do, who speaks says who comes next"


def test_a_claim_carries_its_null_its_ceiling_and_its_interval(subject):
    part = subject.ask(ablated)
    (claim,), (section,) = part.claims, part.sections
    assert claim.statement == STATEMENT and claim.p is not None
    assert claim.estimate is not None and claim.interval is None  # of four transcripts
    assert "40 random directions" in claim.null and "40 directions of dealt" in claim.null
    assert claim.controls[CHANGES] == 100
    assert "loss under the direction of the tags" in claim.controls
    assert subject.ask(outcome) == claim.causal_test is not None
    (table,) = section.body
    assert isinstance(table, Table)
    depths = table.frame.groupby("depth").size()
    assert (depths == len(subject.ask(probes).grid.cells) + 2).all() and len(depths) >= 1
    assert active(subject.model) == ()


@pytest.mark.parametrize(
    ("given", "options", "lacking"),
    [
        (_transcripts(), {"format": "chat"}, "two plain transcripts or more"),
        ([], {}, "two plain transcripts or more"),
        (_transcripts(("Anna", "Annb")), {}, "names that begin with different tokens"),
        (_transcripts(("Ann", "Ben", "Cy"), turns=12), {}, "names that begin with"),
    ],
)
def test_what_texts_lack_is_said_in_the_claim(subject, given, options, lacking):
    other = _with(subject, Sources(tuple(given)), **options)
    part = other.ask(ablated)
    (claim,) = judged(part.claims)
    assert claim.verdict == "not testable here" and lacking in claim.reason
    assert part.sections == () and other.ask(outcome) is None


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    tiny_hf("llama").save_pretrained(root / "tiny-llama")
    tiny_tokenizer("llama").save_pretrained(root / "tiny-llama")
    files = []
    for transcript in _transcripts():
        files.append(root / f"{transcript.name}.txt")
        files[-1].write_text("\n".join(f"{t.speaker}: {t.text}" for t in transcript.turns))
    return Config(
        model=(str(root / "tiny-llama"),), transcript=tuple(files), copies=1, folds=2,
        permutations=40, device="cpu", jobs=1, runs=root, store=root / "stores",
    )  # fmt: skip


def test_a_run_ablates_and_says_so_in_its_claims(config, monkeypatch):
    monkeypatch.setattr(naive, "SHOWN", 20)  # t-SNE of 300 tokens takes a second a panel
    monkeypatch.setitem(tokens.DEPTHS, "quarters", (0, 50, 100))
    done = STUDY.run(config)
    claims = {c["statement"]: c for c in Run.open(done.path).results()["claims"]}
    (beside,) = (c for s, c in claims.items() if s.startswith("How the difference of means"))
    assert beside["causal_test"] == claims[STATEMENT]["causal_test"] is not None
    assert "what the next tag loses without the direction" in done.report.read_text()


def test_no_ablation_is_made_without_random_directions(subject):
    other = _with(subject, subject.texts, ablations=0)
    assert other.ask(ablated) == Part() and other.ask(outcome) is None


def test_too_few_random_directions_are_refused():
    with pytest.raises(ValueError, match="ablations = 10; give 40 or more, or 0 for none"):
        Config(ablations=10)
