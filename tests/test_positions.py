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
    fingerprint,
    pieces,
    segments,
)

TEXT = "Alice was born on the 27th of June. Bob likes chess."


def _words(tokenizer, sample, names):
    (aligned,) = align(tokenizer, [sample], names)
    return [tokenizer.decode([aligned.ids[i] for i in t]).strip() for t in aligned.tokens]


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
        inside = [aligned.ids[token] for token in aligned.tokens[0]]
        assert text.endswith(tokenizer.decode(inside).strip())
    if "qwen" in family:
        assert rows[0].tokens[0][0] != rows[1].tokens[0][0]


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
    assert aligned.tokens[0].tolist() == list(range(touching[0], touching[-1] + 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_white_space_around_a_span_does_not_count(family):
    tokenizer = tiny_tokenizer(family)
    tight, loose = find(TEXT, "June"), find(TEXT, " June")
    (one,), (two,) = (align(tokenizer, [Sample(TEXT, {"m": s})], ["m"]) for s in (tight, loose))
    assert np.array_equal(one.tokens[0], two.tokens[0])


def test_several_stretches_are_one_position_in_the_order_of_the_text():
    tokenizer = tiny_tokenizer("llama")
    day, month, name = find(TEXT, " 27th "), find(TEXT, "June"), find(TEXT, "Alice")
    spans = {"all": (month, name, day), "day": day, "month": month, "name": name, "one": (day,)}
    (aligned,) = align(tokenizer, [Sample(TEXT, spans)], tuple(spans))
    scattered, *single, alone = (tokens.tolist() for tokens in aligned.tokens)
    assert scattered == sorted(token for tokens in single for token in tokens)
    assert alone == single[0]
    words = tokenizer.decode([aligned.ids[token] for token in scattered])
    assert words.split() == ["Alice", "27th", "June"]


def test_stretches_that_share_a_token_count_it_once():
    tokenizer = tiny_tokenizer("gpt2")
    start, stop = find(TEXT, "Alice was")
    sample = Sample(TEXT, {"letters": tuple((i, i + 1) for i in range(start, stop) if i != 5)})
    whole = Sample(TEXT, {"letters": (start, stop)})
    one, other = align(tokenizer, [sample, whole], ["letters"])
    assert np.array_equal(one.tokens[0], other.tokens[0])


def test_plain_spans_keep_the_fingerprint_that_stores_on_disk_were_named_by():
    samples = [Sample("Ann is here", {"b": (4, 6), "a": (0, 3)}), Sample("Ben", {"a": (0, 3)})]
    known = "b5aa047d46034f9cc579a7d2eb786eac8698ca62ccbf8b6ea15da2f198542f82"
    assert fingerprint(samples) == known
    scattered = Sample("Ann is here", {"b": (4, 6), "a": ((0, 1), (2, 3))})
    assert fingerprint([scattered, samples[1]]) != known


@pytest.mark.parametrize("family", FAMILIES)
@given(text=st.text("ab 7.,éß漢😀\n", max_size=30))
def test_pieces_are_all_tokens_and_all_visible_characters_once(family, text):
    tokenizer = tiny_tokenizer(family)
    found = pieces(tokenizer, text)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [token for piece in found for token in piece.ids] == ids
    assert all(piece.text == text[slice(*piece.span)] for piece in found)
    covered = [i for piece in found for i in range(*piece.span)]
    assert covered == sorted(set(covered))
    assert all(text[i].isspace() for i in set(range(len(text))) - set(covered))


def test_helpers_find_words_patterns_and_segments():
    assert TEXT[slice(*find_pattern(TEXT, r"(\d+)th", group=1))] == "27"
    assert find("a b a", "a", occurrence=1) == (4, 5)
    words = every_kth_word(TEXT, 3)
    assert [TEXT[slice(*s)] for s in words.values()] == ["Alice", "on", "of", "likes"]
    assert list(words) == ["word_0", "word_3", "word_6", "word_9"]


def test_the_last_token_of_a_segment_ends_its_turn():
    text = "Ann: Hello there.\nBen: Good day, Ann.\nAnn: Bye."
    parts = segments(text)
    assert [p.label for p in parts] == ["Ann", "Ben", "Ann"]
    assert text[slice(*parts[1].span)].strip() == "Good day, Ann."
    tokenizer = tiny_tokenizer("llama")
    sample = Sample(text, {"turn": parts[1].span})
    (aligned,) = align(tokenizer, [sample], ["turn"])
    last = aligned.tokens[0][-1]
    assert tokenizer.decode(aligned.ids[: last + 1]).endswith("Good day, Ann.")


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
    with pytest.raises(ValueError, match="span 'none' has no stretch: 'Alice"):
        Sample(TEXT, {"none": ()})
    with pytest.raises(ValueError, match=r"span 'x' = \(50, 90\).*likes ches\[s\.\]"):
        Sample(TEXT, {"x": ((0, 5), (50, 90))})
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
