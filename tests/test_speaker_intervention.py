"""Ablation in the speaker study: what it measures on tiny models, and in whole runs."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_bridge, tiny_hf, tiny_tokenizer

from interp.claims import judged
from interp.extract import Stores
from interp.intervene import ablate, active
from interp.model import resid_post
from interp.probes.direction import mean_difference
from interp.report import Table
from interp.run import Run
from studies.speaker_role import __main__ as study
from studies.speaker_role import figures, intervention
from studies.speaker_role.__main__ import Config, main
from studies.speaker_role.activations import read
from studies.speaker_role.causal import intervene
from studies.speaker_role.data import Design, conversations
from studies.speaker_role.intervention import (
    SKIPPED,
    TURNS,
    Ablation,
    Sweep,
    losses,
    measure,
    openings,
    preference,
)
from studies.speaker_role.probing import Settings, probe
from studies.speaker_role.transcripts import Transcript, parse

SETTINGS = Settings(n_splits=2, n_permutations=40, C=0.01, seed=0, jobs=1)
STATEMENT = (
    "Ablating the speaker's direction costs the next tag's logits more than other directions do."
)


def _transcripts(names=("Ann", "Ben"), n=4, turns=10) -> list[Transcript]:
    return [
        parse(
            "\n".join(f"{names[t % len(names)]}: I will like {k} or {t}." for t in range(turns)),
            source=f"talk {k}",
        )
        for k in range(n)
    ]


# --- what is measured ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_an_opening_asks_for_every_tag_past_the_skipped_ones_at_the_token_before_it(family):
    bridge = tiny_bridge(family)
    (text, *_) = openings(bridge, _transcripts(turns=12))
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
    (text, *_) = openings(bridge, _transcripts())
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
def probed(tmp_path_factory):
    bridge, given = tiny_bridge("llama", max_position_embeddings=512), _transcripts()
    talks = conversations(given, Design(copies=2))
    tokens = read(
        bridge,
        talks,
        depths=(0, 33, 100),
        stores=Stores(tmp_path_factory.mktemp("store"), batch_size=8),
    )
    return bridge, given, probe("tiny", tokens, None, SETTINGS)


def test_a_direction_costs_what_the_stream_holds_of_it(probed):
    """Nothing where no token has any of it, all alike where tokens are told apart by it alone."""
    bridge, given, found = probed
    texts, block = openings(bridge, given), 0
    hook = found.tokens.store.hooks[1]
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
    texts = openings(bridge, _transcripts())
    names = next(iter(zip(*_ids(texts), strict=True)))
    directions = np.random.default_rng(0).standard_normal((5, 32))
    plain, found = losses(bridge, texts[0], names, resid_post(1), directions, batch_size=3)
    positions = range(1, texts[0].ids.shape[1])
    for direction, lost in zip(directions, found, strict=True):
        with ablate(bridge, resid_post(1), direction, positions=positions):
            left = preference(bridge, texts[0], names)[0]
        # float32 in batches of another size
        assert plain - left == pytest.approx(lost, abs=1e-4)
    assert np.abs(found).max() > 0.01


def _ids(texts) -> list[set[int]]:
    return [{i for text in texts for s, i in text.names if s == speaker} for speaker in (0, 1)]


def test_directions_are_made_from_other_transcripts_than_they_are_tried_on(probed, monkeypatch):
    bridge, given, found = probed
    seen = []

    def spy(rows, labels):
        seen.append(len(rows))
        return mean_difference(rows, labels)

    monkeypatch.setattr(intervention, "mean_difference", spy)
    place = (1, found.grid.cells.index("last"))
    got = measure(bridge, openings(bridge, given), found, place, SETTINGS, n=4, batch_size=4)
    whole = len(found.tokens.cells()["last"])
    # two folds of four equal transcripts: each time one half; the last call is that of the dealt
    assert seen[-1] == whole // 2
    assert got.before.shape == (4,)
    assert [v.shape for v in got.others.values()] == [(4, 4), (4, 4)]
    assert set(got.roles) == set(found.grid.cells)
    assert np.isfinite(
        np.concatenate([*got.roles.values(), *got.others["random directions"]])
    ).all()
    # one text by hand: the loss of the first random direction
    text, random = openings(bridge, given)[2], np.random.default_rng(SETTINGS.seed)
    direction = random.standard_normal((4, 32))[0]
    edit = ablate(bridge, resid_post(0), direction, positions=range(1, text.ids.shape[1]))
    names = next(iter(zip(*_ids([text]), strict=True)))
    with torch.no_grad(), edit:
        logits = bridge(text.ids)[0, text.before]
    gap = (logits[:, names[1]] - logits[:, names[0]]) * torch.tensor([-1.0, 1.0])
    expected = got.before[2] - gap.mean().item()
    assert got.others["random directions"][0, 2] == pytest.approx(expected, abs=1e-5)


def test_p_is_the_rank_of_the_loss():
    losses = np.linspace(-1, 1, 39)[:, None] * np.ones((1, 4))
    measured = Ablation(
        "block 0", "last", np.ones(4), {"last": np.full(4, 2.0), "tag": np.full(4, -2.0)},
        {"random directions": losses}, 8,
    )  # fmt: skip
    assert measured.p("last", "random directions") == pytest.approx(1 / 40)
    assert measured.p("tag", "random directions") == 1


def test_the_best_of_several_depths_is_held_to_the_best_of_each_other_direction():
    """Directions that cost much at one depth of four, each at another one than the last."""

    def sweep(effect: float, seed: int) -> Sweep:
        rng = np.random.default_rng(seed)
        own, others = rng.normal(size=4), rng.normal(size=(39, 4))
        own[2] += effect
        return Sweep(
            tuple(
                Ablation(
                    f"block {d}", "last", np.ones(6), {"last": np.full(6, own[d])},
                    {"random directions": others[:, [d]] * np.ones(6)}, 8,
                )
                for d in range(4)
            )
        )  # fmt: skip

    hits = sum(sweep(0, seed).p("random directions") <= 0.05 for seed in range(200))
    assert hits <= 21  # a binomial test at .001 says .05 below 22
    strong = sweep(6, 0)
    assert strong.best == 2 and strong.p("random directions") == pytest.approx(1 / 40)


CHANGES = "turns that change the speaker (%): where all do, who speaks says who comes next"


def test_a_claim_carries_its_null_its_ceiling_and_its_interval(probed):
    bridge, given, found = probed
    (claim,), (section,), outcome = intervene(
        bridge, given, Design(), found, SETTINGS, n=40, batch_size=16
    )
    assert claim.statement == STATEMENT and claim.p is not None
    assert claim.estimate is not None and claim.interval is None  # of four transcripts
    assert "40 random directions" in claim.null and "40 directions of dealt" in claim.null
    assert claim.controls[CHANGES] == 100
    assert "loss under the direction of the tags" in claim.controls
    assert outcome == claim.causal_test
    (table,) = section.body
    assert isinstance(table, Table)
    depths = table.frame.groupby("depth").size()
    assert (depths == len(found.grid.cells) + 2).all() and len(depths) >= 1
    assert active(bridge) == ()


@pytest.mark.parametrize(
    ("given", "design", "lacking"),
    [
        (_transcripts(), Design(format="chat"), "two plain transcripts or more"),
        ([], Design(), "two plain transcripts or more"),
        (_transcripts(("Anna", "Annb")), Design(), "names that begin with different tokens"),
        (_transcripts(("Ann", "Ben", "Cy"), turns=12), Design(), "names that begin with"),
    ],
)
def test_what_texts_lack_is_said_in_the_claim(probed, given, design, lacking):
    bridge, _, found = probed
    (claim,), sections, outcome = intervene(
        bridge, given, design, found, SETTINGS, n=40, batch_size=16
    )
    (claim,) = judged([claim])
    assert claim.verdict == "not testable here" and lacking in claim.reason
    assert sections == [] and outcome is None


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
    monkeypatch.setattr(figures, "SHOWN", 20)  # t-SNE of 300 tokens takes a second a panel
    monkeypatch.setitem(study.DEPTHS, "quarters", (0, 50, 100))
    path = main(config)
    claims = {c["statement"]: c for c in Run.open(path.parent).results()["claims"]}
    (direction,) = (c for s, c in claims.items() if s.startswith("How the difference of means"))
    assert direction["causal_test"] == claims[STATEMENT]["causal_test"] is not None
    assert "what the next tag loses without the direction" in path.read_text()


def test_no_ablation_is_made_without_random_directions(probed):
    bridge, given, found = probed
    assert intervene(bridge, given, Design(), found, SETTINGS, n=0, batch_size=16) == ([], [], None)


def test_too_few_random_directions_are_refused():
    with pytest.raises(ValueError, match="ablations = 10; give 40 or more, or 0 for none"):
        Config(ablations=10)
