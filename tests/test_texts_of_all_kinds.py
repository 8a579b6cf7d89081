"""Texts, tokenizers and arguments as they come: words of any script, marks that are no text, inputs
that end in another library's message."""

import copy
import unicodedata

import numpy as np
import pytest
from tiny_models import tiny_bridge, tiny_hf, tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from interp.extract import extract
from interp.files import place
from interp.model import load, resid_post
from interp.positions import Sample, align, every_kth_word, find, find_pattern
from interp.samplefile import SampleFile

HOOK = resid_post(1)


def _read(model, text, **options):
    samples = [Sample("fine", {"w": (0, 1)}), Sample(text, {"w": (0, 1)})]
    return extract(model, samples, hooks=[HOOK], progress=False, **options)


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "नमस्ते दुनिया को",
        "cafe\u0301 ole\u0301 bien",
        "كَتَبَ الوَلَدُ",
        "สวัสดี ครับ",
        "שָׁלוֹם עוֹלָם",
        "Z\u030c ivot je lep",
    ],
)
def test_a_word_keeps_the_marks_that_belong_to_its_letters(text):
    assert any(unicodedata.category(character).startswith("M") for character in text)
    assert [text[a:b] for a, b in every_kth_word(text).values()] == text.split()
    for word in text.split():
        start, end = find(text, word)
        assert text[start:end] == word


def test_a_letter_is_not_found_without_its_marks():
    with pytest.raises(ValueError, match="'cafe' occurs 0 times"):
        find("cafe\u0301 bien", "cafe")
    assert find("27th of June", "27") == (0, 2)


def test_a_mark_before_a_word_is_no_token_of_it():
    """Llama 2's tokenizer puts one before the text, whose offsets cover the first character."""
    text = "27 people were born in June"
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>"], show_progress=False)
    backend.train_from_iterator([text] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    for whole in (text, "June " + text):
        (found,) = align(tokenizer, [Sample(whole, {"n": find(whole, "27")})], ["n"])
        ids = [found.ids[token] for token in found.tokens[0]]
        assert tokenizer.convert_ids_to_tokens(ids) == ["2", "7"]


# --- texts and tokenizers that others trip over --------------------------------------------------


def test_half_a_surrogate_pair_is_named_with_its_sample():
    with pytest.raises(ValueError, match="sample 1: character 3 is half of a surrogate pair"):
        _read(tiny_bridge("gpt2"), "ab \ud83d cd")


def test_a_token_without_a_row_in_the_model_is_named():
    more = copy.deepcopy(tiny_tokenizer("gpt2"))
    more.add_special_tokens({"additional_special_tokens": ["<image>"]})
    with pytest.raises(ValueError, match="sample 1: token '<image>' has id"):
        _read(load(tiny_hf("gpt2"), tokenizer=more), "a <image> b")


def test_a_text_without_a_token_is_named():
    words = Tokenizer(models.WordLevel({"a": 0, "<pad>": 1}))
    words.normalizer = normalizers.BertNormalizer()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")
    with pytest.raises(ValueError, match="sample 0 has no token"):
        align(tokenizer, [Sample("\u200b", {"w": (0, 1)})], ["w"])


def test_a_tokenizer_without_pad_and_end_works():
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer("qwen2").backend_tokenizer)
    got = _read(load(tiny_hf("qwen2"), tokenizer=bare), "a longer text than that")
    usual = _read(tiny_bridge("qwen2"), "a longer text than that")
    np.testing.assert_allclose(got.read(HOOK), usual.read(HOOK), atol=1e-5)


def test_a_tokenizer_that_ends_texts_with_a_mark_loads():
    tokenizer = copy.deepcopy(tiny_tokenizer("qwen2"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    assert _read(load(tiny_hf("qwen2"), tokenizer=tokenizer), "a text").read(HOOK).shape[0] == 2


# --- arguments -----------------------------------------------------------------------------------


def test_a_rule_for_a_position_that_is_not_read_is_refused():
    with pytest.raises(ValueError, match="names the position 'sentense', which is not read"):
        _read(tiny_bridge("gpt2"), "born", rule={"sentense": "mean"})


def test_one_name_is_one_name():
    model, samples = tiny_bridge("gpt2"), [Sample("Alice was", {"month": (0, 5)})]
    several = extract(model, samples, hooks=[HOOK], positions=["month"], progress=False)
    for options in ({"hooks": HOOK}, {"hooks": [HOOK], "positions": "month"}):
        one = extract(model, samples, progress=False, **options)
        assert np.array_equal(one.read(HOOK), several.read(HOOK))


def test_what_is_not_there_is_told_with_the_text(tmp_path):
    with pytest.raises(ValueError, match="'z' occurs 0 times in 'a b a'"):
        find("a b a", "z", occurrence=-1)
    with pytest.raises(ValueError, match="took no part in 'b'"):
        find_pattern("abc", "(x)?b", group=1)
    assert place(str(tmp_path / "runs::1")).name == "runs::1"
    file = tmp_path / "s.jsonl"
    file.write_text('{"text": "ab", "spans": {"w": [0, 1]}}\n\n')
    assert [sample.text for sample in SampleFile(file)] == ["ab"]
