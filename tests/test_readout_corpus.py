"""The readout study's texts, what it refuses before a model is loaded, and the token it reads."""

import copy
import dataclasses
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, N_CTX, tiny_bridge, tiny_hf, tiny_pair, tiny_tokenizer
from tokenizers import processors

from interp import study
from interp.extract import LAST, Stores
from interp.model import load, resid_post
from interp.positions import Sample
from interp.readout import fit
from interp.run import Run
from studies.concept_readout.__main__ import Config
from studies.concept_readout.corpus import SHIPPED, Corpus, check, read_corpus, shipped
from studies.concept_readout.vectors import Readings, attention_blocks, read

RELATIVES = {
    "anger": "anger|angr", "boredom": "bored|boring", "calm": "calm", "curiosity": "curio",
    "disgust": "disgust", "fear": "fear|afraid", "gratitude": "grat[ei]", "joy": "joy|enjoy",
    "pride": "pride|proud", "sadness": "sad", "shame": "shame|asham", "surprise": "surpris",
}  # fmt: skip
"""How words begin that are a concept's name or its nearest relatives."""


def _write(root: Path, texts: dict[str, str | bytes]) -> Path:
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def _small(root: Path, **changed: str | bytes) -> Corpus:
    """Two concepts in two scenarios, and a story of each, with some files' texts exchanged."""
    names = [f"paired/{s}/{c}.txt" for s in ("one", "two") for c in ("baseline", "fear", "joy")]
    names += ["stories/fear.txt", "stories/joy.txt"]
    texts: dict[str, str | bytes] = {name: f"The text of {name}." for name in names}
    _write(root, texts | {f"{name.replace('__', '/')}.txt": t for name, t in changed.items()})
    return read_corpus(root / "stories", root / "paired")


def _positives(corpus: Corpus) -> dict[str, set[str]]:
    rows = zip(corpus.concepts, corpus.positive, strict=True)
    return {concept: set(np.array(corpus.names)[row].tolist()) for concept, row in rows}


@pytest.mark.parametrize(
    ("other", "noted"), [("joys", True), ("Joyy", True), ("sorrow", False), ("jo", False)]
)
def test_names_that_are_nearly_one_are_pointed_out(tmp_path, other, noted):
    corpus = _small(tmp_path, **{f"paired__two__{other}": "Another text."})
    said = [line for line in corpus.notes if "spelled nearly alike" in line]
    assert bool(said) == noted and all(repr(other) in line and "'joy'" in line for line in said)


# --- the texts that come with the study ----------------------------------------------------------


def test_shipped_texts_are_a_full_table_of_concepts_and_scenarios():
    corpus = shipped()
    assert corpus.concepts == tuple(RELATIVES)
    scenarios = sorted({name.split("/")[1] for name in corpus.names if name.startswith("paired")})
    assert len(corpus.concepts) >= 12 and len(scenarios) >= 6
    expected = {f"paired/{s}/{c}" for s in scenarios for c in (*corpus.concepts, "baseline")}
    assert set(corpus.names) == expected | {f"stories/{c}" for c in corpus.concepts}
    assert corpus.n_baselines == len(scenarios) and not corpus.skipped and not corpus.notes
    for concept, names in _positives(corpus).items():
        assert {name.rsplit("/")[-1] for name in names} == {concept}
        assert len(names) == len(scenarios) + 1
    check(corpus)
    assert corpus.notices == ()


def test_shipped_texts_all_end_in_a_full_stop():
    """The last token, where the vectors are read, must not tell the concept by itself."""
    assert {text[-1] for text in shipped().texts} == {"."}


def test_shipped_texts_never_name_a_concept():
    pattern = re.compile(rf"\b(?:{'|'.join(RELATIVES.values())})", re.IGNORECASE)
    for name in RELATIVES:  # the pattern can find every name, so finding none says something
        assert pattern.match(name)
    for name, text in zip(shipped().names, shipped().texts, strict=True):
        assert not pattern.search(text), name


def test_shipped_texts_are_one_plain_paragraph_of_like_length():
    corpus = shipped()
    for scenario in np.unique(corpus.scenario):
        lengths = [len(corpus.texts[i].split()) for i in np.flatnonzero(corpus.scenario == scenario)]  # fmt: skip # noqa: E501
        low, high = (60, 120) if scenario.startswith("stories") else (50, 80)
        assert low <= min(lengths) and max(lengths) <= high, scenario
        assert max(lengths) <= 1.2 * min(lengths), scenario
    assert len(set(corpus.texts)) == len(corpus.texts)
    files = sorted(SHIPPED.rglob("*.txt"))
    assert len(files) == len(corpus.texts)
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert text.isascii() and "  " not in text
        assert text == text.strip() + "\n" and text.count("\n") == 1, path


# --- reading -------------------------------------------------------------------------------------


def test_positives_are_a_concepts_story_and_framings(tmp_path):
    corpus = _small(tmp_path)
    expected = {c: {f"paired/one/{c}", f"paired/two/{c}", f"stories/{c}"} for c in ("fear", "joy")}
    assert _positives(corpus) == expected
    assert corpus.n_baselines == 2
    scenario = dict(zip(corpus.names, corpus.scenario.tolist(), strict=True))
    assert scenario["paired/two/joy"] == scenario["paired/two/baseline"] == "two"
    assert scenario["stories/joy"] == "stories/joy" != scenario["stories/fear"]
    again = read_corpus(tmp_path / "stories", tmp_path / "paired")
    assert again.fingerprint() == corpus.fingerprint()
    changed = _small(tmp_path / "other", stories__joy="Another story.")
    assert changed.fingerprint() != corpus.fingerprint()


def test_concepts_of_one_directory_only_are_read(tmp_path):
    _small(tmp_path)
    _write(tmp_path, {"stories/awe.txt": "A story.", "paired/two/envy.txt": "A framing."})
    corpus = read_corpus(tmp_path / "stories", tmp_path / "paired")
    assert corpus.concepts == ("awe", "envy", "fear", "joy")
    assert corpus.positive.sum(axis=1).tolist() == [1, 1, 3, 3]
    assert read_corpus(tmp_path / "stories", None).concepts == ("awe", "fear", "joy")
    assert read_corpus(None, tmp_path / "paired").concepts == ("envy", "fear", "joy")


def test_the_same_text_under_two_concepts_is_one_row_and_a_negative_of_neither(tmp_path):
    same = "One text, twice."
    corpus = _small(tmp_path, paired__one__fear=same, paired__one__joy=f"  {same}\n")
    at = corpus.texts.index(same)
    assert corpus.texts.count(same) == 1
    assert corpus.names[at] == "paired/one/fear = paired/one/joy"
    assert corpus.positive[:, at].all()
    assert any("paired/one/fear = paired/one/joy" in note for note in corpus.notes)
    # by hand: the text adds to both means of positives, and to no mean of negatives
    X = np.random.default_rng(0).standard_normal((len(corpus.texts), 5))
    found = fit([(0, X)], corpus.positive, corpus.concepts).at(0)[corpus.concepts.index("joy")]
    joy = np.array(["joy" in name for name in corpus.names])
    difference = X[joy].mean(axis=0) - X[~joy].mean(axis=0)
    # vectors are float32
    assert np.allclose(found, difference / np.linalg.norm(difference), atol=1e-6)


def test_the_same_text_of_one_concept_counts_once(tmp_path):
    _small(tmp_path, paired__two__joy="A story.", stories__joy="A story.")
    corpus = read_corpus(tmp_path / "stories", tmp_path / "paired")
    assert corpus.positive.sum(axis=1).tolist() == [3, 2]
    assert corpus.scenario[corpus.texts.index("A story.")] == "two"
    strict = read_corpus(tmp_path / "stories", tmp_path / "paired", minimum=3)
    assert strict.concepts == ("fear",)


def test_baselines_may_be_shared_but_not_with_a_concept(tmp_path):
    same = "Nothing happened."
    corpus = _small(tmp_path / "a", paired__one__baseline=same, paired__two__baseline=same)
    assert corpus.n_baselines == 1 and "baseline = paired/two/baseline" in corpus.notes[0]
    with pytest.raises(ValueError, match="paired/one/baseline = stories/joy"):
        _small(tmp_path / "b", paired__one__baseline=same, stories__joy=same)


def test_empty_files_are_skipped_and_said(tmp_path):
    corpus = _small(tmp_path, stories__joy=" \n\n", paired__one__baseline="")
    assert corpus.skipped == ("paired/one/baseline.txt: empty", "stories/joy.txt: empty")
    assert corpus.notes == ("scenario 'one' has no baseline",)
    assert corpus.positive.sum(axis=1).tolist() == [3, 2]


def test_a_concept_with_too_few_positives_is_dropped_with_its_texts(tmp_path):
    _small(tmp_path)
    shared = "Of two concepts."
    texts = {"stories/awe.txt": shared, "paired/one/awe.txt": "Alone.", "paired/two/joy.txt": shared}  # fmt: skip # noqa: E501
    _write(tmp_path, {**texts, "stories/dread.txt": ""})
    corpus = read_corpus(tmp_path / "stories", tmp_path / "paired", minimum=3)
    assert corpus.concepts == ("fear", "joy")
    assert "Alone." not in corpus.texts  # neither as a negative
    assert corpus.positive[:, corpus.texts.index(shared)].tolist() == [False, True]
    dropped = [line for line in corpus.skipped if line.startswith("concept")]
    assert [line[:40] for line in dropped] == [
        "concept 'awe': 2 of at least 3 positive ",
        "concept 'dread': 0 of at least 3 positiv",
    ]
    with pytest.raises(ValueError, match="4 positive texts it needs; found: awe 2, dread 0, fear"):
        read_corpus(tmp_path / "stories", tmp_path / "paired", minimum=4)


def test_other_files_are_left_out_and_hidden_ones_ignored(tmp_path):
    _small(tmp_path)
    _write(
        tmp_path,
        {
            "stories/.DS_Store": b"\xff",
            "stories/._joy.txt": b"\xff",
            "stories/notes.md": "x",
            "stories/deep/joy.txt": "x",
            "paired/joy.txt": "x",
            "paired/three/notes.md": "x",
            "paired/two/SHAME.TXT": b"\xef\xbb\xbfWith a mark.\r\n",
        },
    )
    corpus = read_corpus(tmp_path / "stories", tmp_path / "paired")
    assert corpus.skipped == (
        "paired/joy.txt: no directory of a scenario",
        "paired/three/notes.md: no .txt file",
        "paired/three: no .txt files",
        "stories/deep: no .txt file",
        "stories/notes.md: no .txt file",
    )
    assert "With a mark." in corpus.texts


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"paired/one/joy.txt": "x"}, "stories: there is no directory"),
        ({"stories": "x", "paired/one/joy.txt": "x"}, "stories: .*stories is no directory"),
        ({"stories/joy.md": "x", "paired/one/joy.txt": "x"}, "no <concept>.txt files in it"),
        ({"stories/joy.txt": "x", "paired/joy.txt": "y"}, "no <scenario>/<concept>.txt files"),
        ({"stories/joy.txt": b"caf\xe9", "paired/one/joy.txt": "x"}, "joy.txt: not UTF-8"),
        ({"stories/Baseline.txt": "x", "paired/one/joy.txt": "y"}, "is no concept's name"),
        ({"stories/Joy.txt": "x", "paired/one/joy.txt": "y"}, "'Joy' differs from 'joy' only by"),
        ({"stories/joy.txt": " ", "paired/one/baseline.txt": "x"}, "it needs; found: joy 0"),
    ],
)
def test_bad_directories_are_refused(tmp_path, files, message):
    _write(tmp_path, files)
    with pytest.raises(ValueError, match=message):
        read_corpus(tmp_path / "stories", tmp_path / "paired")


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="give a directory of stories, of pairs, or both"):
        read_corpus(None, None)
    with pytest.raises(ValueError, match="minimum = 0; a concept needs at least 1"):
        read_corpus(tmp_path, None, minimum=0)
    _write(tmp_path, {"paired/one/baseline.txt": "x"})
    with pytest.raises(ValueError, match="it needs; found: no concepts"):
        read_corpus(None, tmp_path / "paired")


# --- before a model is loaded --------------------------------------------------------------------


def test_one_concept_and_concepts_without_negatives_are_refused(tmp_path):
    _write(tmp_path, {"stories/joy.txt": "x", "long/joy.txt": "x", f"long/{'y' * 210}.txt": "y"})
    with pytest.raises(ValueError, match=r"\['joy'\] is too few concepts"):
        check(read_corpus(tmp_path / "stories", None))
    _write(tmp_path, {"stories/glee.txt": "x"})
    with pytest.raises(ValueError, match="'glee' is shown by all texts"):
        check(read_corpus(tmp_path / "stories", None))
    with pytest.raises(ValueError, match="file name of 210 characters"):
        check(read_corpus(tmp_path / "long", None))


def test_notices_say_what_a_corpus_cannot_show(tmp_path):
    _write(tmp_path, {"a/joy.txt": "x", "a/glee.txt": "x", "a/fear.txt": "y"})
    corpus = read_corpus(tmp_path / "a", None)
    check(corpus)
    assert corpus.notices == (
        "the same text, read once as one of scenario stories/glee: stories/glee = stories/joy",
        "no baselines: a concept's only negatives are the other concepts' texts",
        "2 scenarios: holding one out needs at least 3",
        "'joy' and 'glee' have the same positives: one vector twice",
    )


def test_a_negative_block_is_refused():
    with pytest.raises(ValueError, match="target block -1 is negative"):
        check(shipped(), [3, -1])


# --- the token that is read ----------------------------------------------------------------------


@cache
def _pair(family: str):
    return tiny_pair(family)


def _corpus(texts: dict[str, str]) -> Corpus:
    """Every text a concept and a scenario of its own."""
    names = tuple(sorted(texts))
    rows = tuple(texts[name] for name in names)
    return Corpus(names, names, rows, np.eye(len(names), dtype=bool), np.array(names), (), ())


def _read(bridge, corpus: Corpus, store: Path, blocks=(0,), **options) -> Readings:
    config = Config(target_layers=blocks, store=store, **options)
    subject = study.Subject("m", 1, config, corpus, Run("concept_readout", config))
    subject.model = bridge
    return subject.ask(read)


TEXTS = {
    "accent": "Alice drank a coffee at the caf\u00e9",
    "bracket": "Bob likes chess (on the 3rd of March).",
    "long": "Every spring Grace throws a party for 12 friends, and then she throws another party.",
    "short": "No",
    "word": "Alice was born in Oslo",
}
"""With ends of several kinds: a letter of two bytes, two marks, one mark, words."""


@pytest.mark.parametrize("family", FAMILIES)
def test_readings_equal_huggingface_at_the_last_token(family, tmp_path):
    bridge, hf = _pair(family)
    corpus = _corpus(TEXTS)
    found = _read(bridge, corpus, tmp_path, (0, 1))
    single = _read(bridge, corpus, tmp_path / "single", (0, 1), batch_size=1)
    assert found.truncated == () and found.targets.blocks == (0, 1)
    for row, text in enumerate(corpus.texts):
        ids = tiny_tokenizer(family)(text, return_tensors="pt").input_ids
        with torch.no_grad():
            states = hf(input_ids=ids, output_hidden_states=True).hidden_states
        for block in (0, 1):
            expected = states[block + 1][0, -1].numpy()
            # float32 sums in another order
            assert np.allclose(found.residual(block)[row], expected, atol=1e-5), (text, block)
    for block in (0, 1):
        heads, alone = found.z(block), single.z(block)
        assert heads is not None and alone is not None and heads.shape == (len(TEXTS), 4, 8)
        assert np.allclose(heads, alone, atol=1e-5)
        assert np.allclose(found.residual(block), single.residual(block), atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_long_texts_are_cut_to_their_first_tokens_and_named(family, tmp_path):
    bridge, hf = _pair(family)
    corpus, limit = _corpus(TEXTS), 12
    found = _read(bridge, corpus, tmp_path, (1,), max_length=limit)
    ids = tiny_tokenizer(family)(list(corpus.texts))["input_ids"]
    long = [name for name, row in zip(corpus.names, ids, strict=True) if len(row) > limit]
    assert found.truncated == tuple(long) and found.limit == limit
    assert 1 < len(long) < len(corpus.texts)
    alone = _read(bridge, corpus, tmp_path / "single", (1,), max_length=limit, batch_size=1)
    assert np.allclose(found.residual(1), alone.residual(1), atol=1e-5)
    for row, tokens in enumerate(ids):
        with torch.no_grad():
            states = hf(torch.tensor([tokens]), output_hidden_states=True).hidden_states[2][0]
        # attention looks back only: the state of token n is that of a text cut after it
        gaps = np.abs(states.numpy() - found.residual(1)[row]).max(axis=1)
        read_at = int(gaps.argmin())
        assert gaps[read_at] < 1e-5
        # a cut inside a word may change its tokens, and is then moved before them
        assert limit - 3 <= read_at + 1 <= limit if len(tokens) > limit else read_at + 1 == len(tokens)  # fmt: skip # noqa: E501


def test_a_cut_inside_a_character_moves_before_it(tmp_path):
    bridge, hf = _pair("gpt2")
    text = "Bob likes caf\u00e9s"
    encoded = tiny_tokenizer("gpt2")(text, return_offsets_mapping=True)
    two = [i for i, span in enumerate(encoded["offset_mapping"]) if text[slice(*span)] == "\u00e9"]
    assert len(two) == 2  # bytes
    found = _read(bridge, _corpus({"a": text}), tmp_path, (1,), max_length=two[1])
    with torch.no_grad():
        ids = torch.tensor([encoded["input_ids"]])
        states = hf(ids, output_hidden_states=True).hidden_states[2][0]
    assert found.truncated == ("a",)
    # float32 sums in another order
    assert np.allclose(found.residual(1)[0], states[two[0] - 1].numpy(), atol=1e-5)


def test_a_context_shorter_than_max_length_is_the_limit(tmp_path):
    corpus = _corpus({"short": "Bob.", "long": shipped().texts[0]})
    found = _read(_pair("llama")[0], corpus, tmp_path)
    assert found.limit == N_CTX and found.truncated == ("long",)


def test_a_max_length_without_room_for_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_length = 1 leaves no token of a text: 'Alice"):
        _read(_pair("llama")[0], _corpus(TEXTS), tmp_path, max_length=1)


def test_a_tokenizer_that_closes_texts_is_refused(tmp_path):
    """The last token that is no padding would be its mark, the same for all texts."""
    tokenizer = copy.deepcopy(tiny_tokenizer("qwen2"))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    # the check at load would compare the tokens of strings, which are not in question here
    bridge = load(tiny_hf("qwen2"), tokenizer=tokenizer, check=False)
    with pytest.raises(ValueError, match="ends a text with '<eos>', which is no part of it"):
        _read(bridge, _corpus(TEXTS), tmp_path)


def test_blocks_without_attention_have_no_heads_but_a_residual_stream(tmp_path):
    bridge = tiny_bridge("llama")
    assert attention_blocks(bridge) == (True, True, True)
    found = _read(bridge, _corpus(TEXTS), tmp_path, (1,))
    stores = Stores(tmp_path, batch_size=2)
    samples = [Sample(text, {LAST: (0, len(text))}) for text in _corpus(TEXTS).texts]
    without = stores.extract("residual", bridge, samples, hooks=[resid_post(1)])
    bare = dataclasses.replace(found, store=without)
    assert bare.z(1) is None and np.array_equal(bare.residual(1), found.residual(1))
