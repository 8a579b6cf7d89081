"""Transcripts as turns: read, arranged, and written as a text in which every turn is known."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from talks import CHATML, lines, templated, transcript_of
from tiny_models import tiny_tokenizer

from interp.rendering import chat, plain, renderer
from interp.transcripts import (
    FEWEST_TURNS,
    Transcript,
    Turn,
    exchanged,
    parse_transcript,
    read_transcript,
    shuffled,
    split,
)
from studies.speaker_role.data import shipped

GEMMA = (
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
)
PHI = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}<|endoftext|>"
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}"
    "{% endfor %}"
)


# reading


def test_a_transcript_is_read_as_it_is_written():
    text = (
        "Bob:   I am early.\n\nDr. Ann Lee: You are,\n  at 9:30 even.\n   \nBob:\nI know.\n"
        + lines("Bob", "Dr. Ann Lee") * 4
    )
    read_text = parse_transcript(text, source="talk")
    assert read_text.name == "talk" and read_text.speakers == ("Bob", "Dr. Ann Lee")
    assert read_text.turns[:3] == (
        Turn("Bob", "I am early."),
        Turn("Dr. Ann Lee", "You are, at 9:30 even."),  # a time of day is no tag
        Turn("Bob", "I know."),
    )
    assert len(read_text.turns) == 11


def test_a_speakers_number_does_not_depend_on_who_opens():
    bob, ann = (parse_transcript(lines(*order) * 4) for order in (("Bob", "Ann"), ("Ann", "Bob")))
    assert bob.speakers == ann.speakers == ("Ann", "Bob")
    assert len(parse_transcript(lines("C", "A", "B") * 4).speakers) == 3


@pytest.mark.parametrize(
    "text, message",
    [
        ("one\n\ntwo\n", "talk: none of 2 lines begins with 'Name:' and a space"),
        ("", "talk: none of 0 lines"),
        ("\nA talk.\n" + lines("Ann", "Bob") * 4, "line 2: 'A talk.' stands before the first"),
        (lines("Ann", "Bob") * 4 + "Ann:\n\nBob: hi\n", "line 9: 'Ann' says nothing"),
        (lines("Ann", "Bob") * 4 + "Bob:   ", "line 9: 'Bob' says nothing"),
        (lines("Ann") * 8, "line 1: 'Ann' is the only speaker"),
        (lines("Ann", "Bob") * 3 + lines("Bob"), "line 1: 'Ann' has 3 turns, fewer than 4"),
        (lines("Ann", "Bob") * 4 + "I say: go\n", "line 9: 'I say' has 1 turns"),
        (lines("Ann", "ann") * 4, "line 2: 'ann' differs from 'Ann' of line 1"),
        (lines("Ann Lee", "Bob", "AnnLee") * 4, "line 3: 'AnnLee' differs from 'Ann Lee' of li"),
    ],
)
def test_what_is_no_transcript_is_refused_with_its_line(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_transcript(text, source="talk")


def test_a_file_is_called_as_it_is_and_its_errors_name_it(tmp_path):
    path = tmp_path / "harbour.txt"
    path.write_bytes(b"\xef\xbb\xbf" + lines("Ann", "Bob").encode() * FEWEST_TURNS)
    assert read_transcript(path).name == "harbour" and read_transcript(path).speakers == (
        "Ann",
        "Bob",
    )
    path.write_text("no names")
    with pytest.raises(ValueError, match=r"harbour\.txt: none of 1 lines"):
        read_transcript(path)
    path.write_bytes("Zoë: hi".encode("latin-1"))
    with pytest.raises(ValueError, match=r"harbour\.txt: not UTF-8"):
        read_transcript(path)


# arranging


def test_an_exchange_flips_the_tags_and_nothing_else():
    talk = transcript_of(("Bob", "Ann, I think."), ("Ann", "Bob can."), ("Bob", "We will."))
    other = exchanged(talk)
    assert [turn.speaker for turn in other.turns] == ["Ann", "Bob", "Ann"]
    assert [turn.text for turn in other.turns] == [turn.text for turn in talk.turns]
    assert other.speakers == talk.speakers and exchanged(other) == talk
    before, after = plain(talk), plain(other)
    assert [1 - number for number in before.speakers] == list(after.speakers)
    # the names are equally long, so all other characters stay in their places
    changed = {i for i, (a, b) in enumerate(zip(before.text, after.text, strict=True)) if a != b}
    assert changed == {i for start, stop in before.tags for i in range(start, stop)}


def test_rotations_of_three_give_each_utterance_to_each():
    talk = transcript_of(("Ann", "One."), ("Cem", "Two."), ("Bob", "Three."), ("Ann", "Four."))
    once, twice = exchanged(talk), exchanged(exchanged(talk))
    assert [turn.speaker for turn in once.turns] == ["Bob", "Ann", "Cem", "Bob"]
    for turns in zip(talk.turns, once.turns, twice.turns, strict=True):
        assert {turn.speaker for turn in turns} == {"Ann", "Bob", "Cem"}
    assert exchanged(twice) == talk


@pytest.mark.parametrize("n", (8, 9))
def test_a_shuffle_keeps_what_is_said_and_deals_turns_evenly(n):
    talk = transcript_of(*[("Ann" if i < n - 2 else "Bob", f"remark {i % 5}") for i in range(n)])
    larger = set()
    for seed in range(20):
        mixed = shuffled(talk, np.random.default_rng(seed))
        assert Counter(t.text for t in mixed.turns) == Counter(t.text for t in talk.turns)
        counts = Counter(turn.speaker for turn in mixed.turns)
        assert sorted(counts.values()) == [n // 2, n - n // 2]
        larger.add(max(counts, key=lambda name: counts[name]))
        assert mixed == shuffled(talk, np.random.default_rng(seed))
    assert n % 2 == 0 or larger == {"Ann", "Bob"}


def test_a_shuffle_unties_speaker_order_and_utterance():
    talk = shipped()[0]
    mine = {turn.text for turn in talk.turns if turn.speaker == "Alice"}
    kept, same_place, changes = [], [], []
    for seed in range(200):
        turns = shuffled(talk, np.random.default_rng(seed)).turns
        kept.append(np.mean([(t.text in mine) == (t.speaker == "Alice") for t in turns]))
        same_place.append(
            np.mean([a.text == b.text for a, b in zip(turns, talk.turns, strict=True)])
        )
        changes.append(np.mean([a.speaker != b.speaker for a, b in pairwise(turns)]))
    # of 32 dealt 16 and 16: half keep their speaker (sd .09 a shuffle, .006 of the mean), one in 32
    # its place, and 16 of 31 neighbours differ; bounds are four standard errors
    assert abs(np.mean(kept) - 1 / 2) < 0.025
    assert abs(np.mean(same_place) - 1 / 32) < 0.009
    assert abs(np.mean(changes) - 16 / 31) < 0.025


@pytest.mark.parametrize("n, longest", [(10, 10), (10, 9), (10, 4), (10, 3), (7, 1), (11, 5)])
def test_a_split_covers_all_turns_in_even_pieces(n, longest):
    talk = transcript_of(*[("Ann", f"{i}") for i in range(n - 1)], ("Bob", "last"))
    pieces = split(talk, lambda piece: len(piece.turns) <= longest)
    assert [turn for piece in pieces for turn in piece.turns] == list(talk.turns)
    sizes = [len(piece.turns) for piece in pieces]
    assert max(sizes) <= longest and max(sizes) - min(sizes) <= 1
    assert len(pieces) == -(-n // longest)
    assert {piece.speakers for piece in pieces} == {("Ann", "Bob")}
    assert len({piece.name for piece in pieces}) == len(pieces)
    assert (pieces == [talk]) == (longest >= n)


def test_a_split_obeys_a_tokenizer():
    tokenizer, talk = tiny_tokenizer("llama"), shipped()[0]
    limit = len(tokenizer(plain(talk).text)["input_ids"]) // 3

    def fits(piece: Transcript) -> bool:
        return len(tokenizer(plain(piece).text)["input_ids"]) <= limit

    pieces = split(talk, fits)
    assert len(pieces) >= 3 and all(map(fits, pieces))
    assert "".join(plain(piece).text for piece in pieces) == plain(talk).text


def test_a_turn_that_does_not_fit_is_refused():
    talk = transcript_of(("Ann", "short"), ("Bob", "much too long"), ("Ann", "short"))
    with pytest.raises(ValueError, match="turn 1 of 'Bob', counting from 0, does not fit"):
        split(talk, lambda piece: len(plain(piece).text) <= 12)


# writing


def test_plain_text_is_the_lines_of_the_transcript():
    talk = transcript_of(("Bob", "I am."), ("Ann", "Bob: no."), ("Bob", "I am."))
    written = plain(talk)
    assert written.text == "Bob: I am.\nAnn: Bob: no.\nBob: I am.\n"
    assert [written.text[slice(*s)] for s in written.tags] == ["Bob", "Ann", "Bob"]
    assert [written.text[slice(*s)] for s in written.turns] == ["I am.", "Bob: no.", "I am."]
    assert written.speakers == (1, 0, 1) and written.names == ("Ann", "Bob")


@pytest.mark.parametrize(
    "template, words",
    [
        (CHATML, ("user", "assistant")),
        (GEMMA, ("user", "model")),
        (PHI, ("user", "assistant")),
        (THINKING, ("user", "assistant")),
    ],
)
def test_a_chat_marks_roles_and_contents(template, words):
    # words of headers as messages, a message twice, and one role several times in a row
    said = ("s", "user", "assistant", "I am.", "I am.", "end", "model")
    talk = transcript_of(*zip(("Bob", "Bob", "Ann", "Ann", "Ann", "Ann", "Bob"), said, strict=True))
    written = chat(talk, templated(template))
    assert [written.text[slice(*s)] for s in written.turns] == list(said)
    numbers = [1, 1, 0, 0, 0, 0, 1]
    assert list(written.speakers) == numbers
    assert [written.text[slice(*s)] for s in written.tags] == [words[i] for i in numbers]
    opening = {GEMMA: "<start_of_turn>", PHI: "<|"}.get(template, "<|im_start|>")
    for (tag, _), (begin, end) in zip(written.tags, written.turns, strict=True):
        assert written.text[:tag].endswith(opening)
        assert re.fullmatch(r"\w+(\|>)?\n(<think>\n\n</think>\n\n)?", written.text[tag:begin])
        assert written.text[end:].startswith(("<|im_end|>", "<end_of_turn>", "<|end|>"))


@pytest.mark.parametrize("family, added", [("llama", 1), ("gpt2", 0)])
def test_a_chat_begins_with_one_bos(family, added):
    tokenizer = templated(CHATML, family)
    written = chat(transcript_of(("Ann", "I am."), ("Bob", "You can.")), tokenizer)
    assert written.text.startswith(str(tokenizer.bos_token)) == (not added)
    ids = tokenizer(written.text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(
    "template, message",
    [
        (None, "no chat template"),
        (ALTERNATING, "refuses one message a turn (roles must alternate)"),
        ("{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}{% endfor %}", "message 0"),
        ("{% for m in messages %}>> {{ m.content }}\n{% endfor %}", "does not name the roles"),
    ],
)
def test_a_chat_template_that_cannot_hold_turns_is_refused(template, message):
    talk = transcript_of(("Ann", "I am."), ("Ann", "You can."), ("Bob", "We will."))
    with pytest.raises(ValueError, match=re.escape(message)):
        chat(talk, templated(template))


def test_a_chat_has_two_speakers():
    talk = transcript_of(("Ann", "I am."), ("Bob", "You can."), ("Cem", "We will."))
    with pytest.raises(ValueError, match="3 speakers, but a chat has two"):
        chat(talk, templated(CHATML))
    with pytest.raises(ValueError, match="'chat' needs a tokenizer"):
        renderer("chat")
