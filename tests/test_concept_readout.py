"""The concept-readout study: vectors against plain PyTorch, planted directions, whole tiny runs."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from browser import needs_browser, visit
from gguf import GGUFReader
from tiny_models import FAMILIES, tiny_hf, tiny_pair, tiny_tokenizer

from interp import study
from interp.claims import judged
from interp.intervene import steer
from interp.model import resid_post
from interp.readout import load_concept, load_control_vector, load_quality, load_readouts
from interp.run import Run, parse
from studies.concept_readout.__main__ import STUDY, Config
from studies.concept_readout.corpus import read_corpus
from studies.concept_readout.quality import export
from studies.concept_readout.steering import DOSES, Steered, acting, steer_by_vectors
from studies.concept_readout.vectors import Vectors, fit_vectors

WORDS = {
    "born": "sun fire soup coat",
    "chess": "snow ice wind frost",
    "party": "drum bell shout horn",
}
"""Concepts whose names are single tokens of the tiny tokenizers."""


def _write(folder, scenarios=4):
    """Stories and framings of three concepts with words of their own, and baselines."""
    stories, paired = folder / "stories", folder / "paired"
    stories.mkdir(parents=True)
    for concept, words in WORDS.items():
        (stories / f"{concept}.txt").write_text(f"Once there was {words} and no more.")
    for number in range(scenarios):
        place = paired / f"day {number}"
        place.mkdir(parents=True)
        (place / "baseline.txt").write_text(f"On day {number} nothing came by.")
        for concept, words in WORDS.items():
            one, other = words.split()[number % 4], words.split()[(number + 1) % 4]
            (place / f"{concept}.txt").write_text(f"On day {number} came {one} and {other}.")
    return stories, paired


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("texts"))


def _subject(bridge, folders, store, **options):
    """A subject whose model is given."""
    config = Config(permutations=40, store=store, **options)
    corpus = read_corpus(*folders)
    subject = study.Subject("m", 1, config, corpus, Run("concept_readout", config))
    subject.model = bridge
    return subject


@pytest.mark.parametrize("family", FAMILIES)
def test_exported_vectors_equal_plain_pytorch(family, folders, tmp_path):
    """Mean differences of HuggingFace's hidden states, one unpadded text at a time."""
    bridge, hf = tiny_pair(family)
    blocks = (0, 1)
    subject = _subject(bridge, folders, tmp_path, target_layers=blocks, batch_size=16)
    subject.run.path = tmp_path
    subject.ask(export)
    corpus, states = subject.texts, []
    with torch.no_grad():
        for text in corpus.texts:
            ids = tiny_tokenizer(family)(text, return_tensors="pt")["input_ids"]
            hidden = hf(ids, output_hidden_states=True).hidden_states
            states.append(torch.stack([hidden[block + 1][0, -1] for block in blocks]))
    states = torch.stack(states).double()
    stored = load_readouts(tmp_path / "export")
    assert stored.blocks == blocks and stored.concepts == ("born", "chess", "party")
    for b in range(len(blocks)):
        for k, positive in enumerate(torch.from_numpy(corpus.positive)):
            expected = states[positive, b].mean(0) - states[~positive, b].mean(0)
            expected = (expected / expected.norm()).numpy()
            # float16 keeps 11 bits; the activations themselves are float32
            bound = 2.0**-11 * np.abs(expected) + 2.0**-24 + 2e-6
            assert (np.abs(stored.vectors[b, k] - expected) <= bound).all()
    for k, concept in enumerate(stored.concepts):
        one = load_concept(tmp_path / "export" / f"{concept}.safetensors")
        np.testing.assert_array_equal(one.vectors.astype(np.float16), stored.vectors[:, k])
        reader = GGUFReader(tmp_path / "export" / f"{concept}.gguf")
        assert [tensor.name for tensor in reader.tensors] == ["direction.1"]
        control = load_control_vector(tmp_path / "export" / f"{concept}.gguf")
        np.testing.assert_array_equal(control.vectors[0], one.vectors[1])
    quality = load_quality(tmp_path / "export")
    assert set(quality["blocks"]) == {"0", "1"} and "hidden_states[l + 1]" in quality["convention"]


@pytest.mark.parametrize("family", FAMILIES)
def test_steering_by_a_planted_vector_moves_its_logit_monotonically(family):
    """Past the last block only the norm and the unembedding follow: along a token's own column the
    token gains on all others, dose by dose."""
    bridge, _ = tiny_pair(family)
    ids = bridge.tokenizer("Bob likes chess.", return_tensors="pt")["input_ids"]
    token, last = 77, bridge.cfg.n_layers - 1
    column = bridge.W_U[:, token].detach()
    vector = column - bridge.W_U.detach().mean(dim=1)
    found = []
    for dose in (-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0):
        with torch.no_grad(), steer(bridge, {resid_post(last): vector}, strength=dose):
            found.append(bridge(ids)[0, -1].log_softmax(-1)[token].item())
    assert (np.diff(found) > 0).all()


def _steered(subject, block, planted=None, **options) -> tuple[Vectors, Steered, study.Part]:
    """Vectors used at `block`, perhaps with others in place of those that were fitted."""
    fitted = subject.ask(fit_vectors)
    readouts = fitted.readouts
    fitted = dataclasses.replace(
        fitted,
        readouts=readouts if planted is None else dataclasses.replace(readouts, vectors=planted),
        choice=dataclasses.replace(fitted.choice, block=block),
    )
    config = dataclasses.replace(subject.config, **options)
    other = dataclasses.replace(subject, config=config, _answers={fit_vectors: fitted})
    other.model = subject.model
    return fitted, other.ask(steer_by_vectors), other.ask(acting)


def _claim(part, beginning):
    return next(claim for claim in part.claims if claim.statement.startswith(beginning))


# --- planted concepts ----------------------------------------------------------------------------


def test_a_vector_that_writes_its_word_is_found_to_act(folders, tmp_path):
    """The readout of one concept is replaced by its word's own unembedding column."""
    bridge, _ = tiny_pair("qwen3")
    subject = _subject(bridge, folders, tmp_path, target_layers=(1, 2), seed=0)
    planted = subject.ask(fit_vectors).readouts.vectors.copy()
    word = bridge.tokenizer("a party")["input_ids"][len(bridge.tokenizer("a")["input_ids"])]
    column = (bridge.W_U[:, word] - bridge.W_U.mean(dim=1)).detach().numpy()
    planted[1, 2] = column / np.linalg.norm(column)
    _, steered, part = _steered(subject, 2, planted, directions=60)
    assert steered.words[2] == " party" and not steered.ambiguous
    assert steered.downstream is None
    assert steered.word.test.p[2] == steered.word.test.floor
    assert steered.word.slope[2] > 0 and steered.word.monotone[2]
    assert steered.logprob.shape == (3, len(DOSES))
    downstream = _claim(part, "What the next blocks")
    assert judged([downstream])[0].verdict == "not testable here"
    own = _claim(part, "Steering along")
    # the one planted vector raises its word; the exchange is over three concepts
    assert own.estimate is not None and own.estimate > 0


def test_dealt_labels_are_read_out_along_their_own_vectors(folders, tmp_path):
    """Any difference of means raises its own readout downstream: that is the null."""
    bridge, _ = tiny_pair("qwen3")
    subject = _subject(bridge, folders, tmp_path, target_layers=(0, 1), seed=0)
    _, steered, part = _steered(subject, 0, directions=40, rows=50)
    assert steered.downstream is not None and steered.downstream.block == 1
    assert steered.downstream.dealt_own.shape == (40,)
    # concepts that a random model has none of do no more than those that do not exist
    assert judged([_claim(part, "What the next")])[0].verdict == "undecided"


def test_how_many_directions_share_a_pass_changes_nothing(folders, tmp_path):
    bridge, _ = tiny_pair("gemma3")
    subject = _subject(bridge, folders, tmp_path, target_layers=(0, 1), seed=0)
    many, few = (_steered(subject, 0, directions=40, rows=rows)[1] for rows in (50, 7))
    np.testing.assert_allclose(many.logprob, few.logprob, atol=1e-5)
    assert many.downstream is not None and few.downstream is not None
    slopes = many.downstream.readout.slope, few.downstream.readout.slope
    np.testing.assert_allclose(*slopes, atol=1e-4)
    np.testing.assert_allclose(many.loss, few.loss, atol=1e-5)
    assert many.samples == few.samples


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(folders, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    path = root / "tiny-llama"
    tiny_hf("llama").save_pretrained(path)
    tiny_tokenizer("llama").save_pretrained(path)
    return Config(
        model=(str(path),), stories_dir=folders[0], paired_dir=folders[1], target_layers=(0, 1),
        permutations=40, directions=40, device="cpu", runs=root, store=root / "stores",
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(config):
    return STUDY.run(config).report


def test_a_run_leaves_claims_tables_exports_report_and_manifest(report, config):
    run = Run.open(report.parent)
    made = run.results()["claims"]
    assert {c["subject"] for c in made} == set(config.model) and len(made) == 6
    assert all(c["reason"] for c in made) and sum(c["primary"] for c in made) == 1
    cells = run.table("cells-1")
    assert len(cells) == 2 * 3 and {"auroc", "auroc_low", "p_family", "neuron"} <= set(cells)
    assert load_readouts(report.parent / "export").concepts == ("born", "chess", "party")
    assert run.manifest["recorded"]["texts"]


@needs_browser
def test_the_report_opens_without_a_network(report):
    seen = visit(report)
    assert seen.errors == [] and seen.requests == []
    # AUROC, cosines of two blocks, doses, words by vectors
    assert seen.plots == 5
    assert "Steering along a concept's vector makes its own word likelier than other" in seen.text


def test_a_second_run_finds_the_same_and_overwrites_no_export(report, config, tmp_path):
    chosen = dataclasses.replace(
        config, output=tmp_path / "out", directions=0, quality_report=False
    )
    again = STUDY.run(chosen).report
    first, second = (
        {c["statement"]: c for c in json.loads((p.parent / "results.json").read_text())["claims"]}
        for p in (report, again)
    )
    assert set(second) < set(first) and all(second[s] == first[s] for s in second)
    assert not (tmp_path / "out" / "quality.json").exists()
    with pytest.raises(ValueError, match="already holds an export"):
        STUDY.run(chosen)
    STUDY.run(dataclasses.replace(chosen, overwrite=True))


def test_bad_input_is_refused_before_a_model_is_loaded(config, tmp_path):
    absent = dataclasses.replace(config, model=("no such model",))
    for change, message in (
        ({"stories_dir": tmp_path / "none"}, "none"),
        ({"min_positives": 9}, "no concept has the 9 positive texts it needs"),
        ({"target_layers": (-1,)}, "block -1 is negative"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            STUDY.run(dataclasses.replace(absent, **change))
    with pytest.raises(ValueError, match="target block 7; this model has blocks 0 to 2"):
        STUDY.run(dataclasses.replace(config, target_layers=(7,)))
    for change, message in (
        ({"directions": 5}, "directions = 5; a 5 % test needs at least 40, or 0"),
        ({"permutations": 5}, "permutations = 5; it must be at least 40"),
        ({"model": ()}, "name one or more models"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(config, **change)


def test_long_texts_are_counted_and_named(config):
    outcome = STUDY.run(dataclasses.replace(config, max_length=12, directions=0))
    page = outcome.report.read_text()
    assert "texts were longer than 12 tokens and were cut: paired/day 0/" in page


def test_the_command_line_explains_every_field(capsys):
    with pytest.raises(SystemExit):
        parse(Config, ["--help"], prog="readout", description="")
    shown = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert f"{field.name.replace('_', '-')}" in shown
