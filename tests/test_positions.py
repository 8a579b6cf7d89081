"""Spans reach the same word in every tokenizer, and errors show the place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import FAMILIES, tiny_tokenizer

from interp.positions import (
    Sample,
    align,
    every_kth_word,
    find,
    find_pattern,
    segment_labels,
    segments,
)

TEXT = "Alice was born on the 27th of June. Bob likes chess."


def _words(tokenizer, sample, names):
    (aligned,) = align(tokenizer, [sample], names)
    return [tokenizer.decode(aligned.ids[a:b]).strip() for a, b in aligned.ranges]


@pytest.mark.parametrize("family", FAMILIES)
def test_spans_find_their_words_in_every_tokenizer(family):
    spans = {"day": find(TEXT, "27th"), "month": find(TEXT, "June"), "first": find(TEXT, "Alice")}
    tokenizer = tiny_tokenizer(family)
    assert _words(tokenizer, Sample(TEXT, spans), tuple(spans)) == ["27th", "June", "Alice"]


@pytest.mark.parametrize("family", FAMILIES)
def test_token_indices_differ_where_spans_agree(family):
    """The reason for spans: one more digit moves every later token in some tokenizers."""
    tokenizer = tiny_tokenizer(family)
    texts = ["born on the 7th of June", "born on the 17th of June"]
    rows = align(tokenizer, [Sample(t, {"m": find(t, "June")}) for t in texts], ["m"])
    for text, aligned in zip(texts, rows, strict=True):
        assert text.endswith(tokenizer.decode(aligned.ids[slice(*aligned.ranges[0])]).strip())
    if "qwen" in family:
        assert rows[0].ranges[0, 0] != rows[1].ranges[0, 0]


@given(st.text("ab 7.,éß漢", min_size=1, max_size=30), st.data())
def test_tokens_of_a_span_are_those_that_share_a_visible_character(text, data):
    if not text.strip():
        return
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    if not text[start:stop].strip():
        return
    tokenizer = tiny_tokenizer("gpt2")
    (aligned,) = align(tokenizer, [Sample(text, {"s": (start, stop)})], ["s"])
    wanted = {i for i in range(start, stop) if not text[i].isspace()}
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    touching = [i for i, (a, b) in enumerate(offsets) if wanted & set(range(a, b))]
    first, stop_token = aligned.ranges[0]
    assert (first, stop_token) == (touching[0], touching[-1] + 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_white_space_around_a_span_does_not_count(family):
    tokenizer = tiny_tokenizer(family)
    tight, loose = find(TEXT, "June"), find(TEXT, " June")
    (one,), (two,) = (align(tokenizer, [Sample(TEXT, {"m": s})], ["m"]) for s in (tight, loose))
    assert np.array_equal(one.ranges, two.ranges)


def test_helpers_find_words_patterns_and_segments():
    assert TEXT[slice(*find_pattern(TEXT, r"(\d+)th", group=1))] == "27"
    assert find("a b a", "a", occurrence=1) == (4, 5)
    words = every_kth_word(TEXT, 3)
    assert [TEXT[slice(*s)] for s in words.values()] == ["Alice", "on", "of", "likes"]
    assert list(words) == ["word_0", "word_3", "word_6", "word_9"]


def test_segments_label_every_token_with_its_speaker():
    text = "Ann: Hello there.\nBen: Good day, Ann.\nAnn: Bye."
    parts = segments(text)
    assert [p.label for p in parts] == ["Ann", "Ben", "Ann"]
    assert text[slice(*parts[1].span)].strip() == "Good day, Ann."
    tokenizer = tiny_tokenizer("llama")
    labels = segment_labels(tokenizer, text, parts)
    assert labels[0] is None  # BOS
    assert {label for label in labels if label} == {"Ann", "Ben"}
    sample = Sample(text, {"turn": parts[1].span})
    (aligned,) = align(tokenizer, [sample], ["turn"])
    last = aligned.ranges[0, 1] - 1
    assert labels[last] == "Ben"
    assert tokenizer.decode(aligned.ids[last : last + 1]).endswith(".")


def test_errors_name_the_sample_and_show_the_text_around():
    tokenizer = tiny_tokenizer("gpt2")
    with pytest.raises(ValueError, match="occurs 0 times.*Alice was born"):
        find(TEXT, "July")
    with pytest.raises(ValueError, match="text is empty"):
        Sample("  ", {})
    with pytest.raises(ValueError, match=r"span 'x' = \(50, 90\).*likes ches\[s\.\]"):
        Sample(TEXT, {"x": (50, 90)})
    with pytest.raises(ValueError, match=r"span 'gap' = \(5, 6\).*\.\.\.Alice\[ \]was born"):
        Sample(TEXT, {"gap": (5, 6)})
    with pytest.raises(ValueError, match="sample 7 has no span 'month'; it has day"):
        align(tokenizer, [Sample(TEXT, {"day": (0, 3)})], ["month"], numbers=[7])
    with pytest.raises(ValueError, match="sample 0 has .* tokens, more than the context of 4"):
        align(tokenizer, [Sample(TEXT, {})], [], max_tokens=4)
    with pytest.raises(ValueError, match="no line of the text matches"):
        segments("nobody speaks")
    with pytest.raises(ValueError, match="k = 0"):
        every_kth_word(TEXT, 0)


def test_a_span_that_no_token_covers_is_an_error():
    """Tokenizers may drop characters, and with them a span."""
    from tokenizers import normalizers

    tokenizer = tiny_tokenizer.__wrapped__("gpt2")
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("June", "")
    sample = Sample(TEXT, {"month": find(TEXT, "June")})
    with pytest.raises(ValueError, match=r"sample 3: span 'month' hits no token.*of \[June\]"):
        align(tokenizer, [sample], ["month"], numbers=[3])
