"""The speaker study's data: what is said does not tell who speaks, and every token is labelled by
where its characters stand."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from studies.speaker_role.data import (
    PRONOUNS,
    ROLES,
    Design,
    conversations,
    from_file,
    label_tokens,
    roles,
)
from studies.speaker_role.rendering import chat, plain
from studies.speaker_role.transcripts import (
    FEWEST_TURNS,
    Transcript,
    Turn,
    exchanged,
    parse,
    read,
    shipped,
    shuffled,
    split,
)
from tests.tiny_models import tiny_tokenizer

VERBS = Design().verbs
CHATML = (
    "{{ bos_token }}<|im_start|>system\nAn assistant helps a user.<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)
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


def _talk(*turns: tuple[str, str], name: str = "talk") -> Transcript:
    made = tuple(Turn(speaker, text) for speaker, text in turns)
    return Transcript(name, made, tuple(sorted({turn.speaker for turn in made})))


def _lines(*speakers: str) -> str:
    return "".join(f"{name}: remark {i}\n" for i, name in enumerate(speakers))


def _offsets(tokenizer, text: str) -> list[tuple[int, int]]:
    return [tuple(o) for o in tokenizer(text, return_offsets_mapping=True)["offset_mapping"]]


def _templated(template: str, family: str = "qwen2") -> PreTrainedTokenizerFast:
    base = tiny_tokenizer(family)
    names = {k: v for k, v in base.special_tokens_map.items() if isinstance(v, str)}
    made = PreTrainedTokenizerFast(tokenizer_object=base.backend_tokenizer, **names)
    made.chat_template = template
    return made


# reading


def test_a_transcript_is_read_as_it_is_written():
    text = (
        "Bob:   I am early.\n\nDr. Ann Lee: You are,\n  at 9:30 even.\n   \nBob:\nI know.\n"
        + _lines("Bob", "Dr. Ann Lee") * 4
    )
    read_text = parse(text, source="talk")
    assert read_text.name == "talk" and read_text.speakers == ("Bob", "Dr. Ann Lee")
    assert read_text.turns[:3] == (
        Turn("Bob", "I am early."),
        Turn("Dr. Ann Lee", "You are, at 9:30 even."),  # a time of day is no tag
        Turn("Bob", "I know."),
    )
    assert len(read_text.turns) == 11


def test_a_speakers_number_does_not_depend_on_who_opens():
    bob, ann = (parse(_lines(*order) * 4) for order in (("Bob", "Ann"), ("Ann", "Bob")))
    assert bob.speakers == ann.speakers == ("Ann", "Bob")
    assert len(parse(_lines("C", "A", "B") * 4).speakers) == 3


@pytest.mark.parametrize(
    "text, message",
    [
        ("one\n\ntwo\n", "talk: none of 2 lines begins with 'Name:' and a space"),
        ("", "talk: none of 0 lines"),
        ("\nA talk.\n" + _lines("Ann", "Bob") * 4, "line 2: 'A talk.' stands before the first"),
        (_lines("Ann", "Bob") * 4 + "Ann:\n\nBob: hi\n", "line 9: 'Ann' says nothing"),
        (_lines("Ann", "Bob") * 4 + "Bob:   ", "line 9: 'Bob' says nothing"),
        (_lines("Ann") * 8, "line 1: 'Ann' is the only speaker"),
        (_lines("Ann", "Bob") * 3 + _lines("Bob"), "line 1: 'Ann' has 3 turns, fewer than 4"),
        (_lines("Ann", "Bob") * 4 + "I say: go\n", "line 9: 'I say' has 1 turns"),
        (_lines("Ann", "ann") * 4, "line 2: 'ann' differs from 'Ann' of line 1"),
        (_lines("Ann Lee", "Bob", "AnnLee") * 4, "line 3: 'AnnLee' differs from 'Ann Lee' of li"),
    ],
)
def test_what_is_no_transcript_is_refused_with_its_line(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(text, source="talk")


def test_a_file_is_called_as_it_is_and_its_errors_name_it(tmp_path):
    path = tmp_path / "harbour.txt"
    path.write_bytes(b"\xef\xbb\xbf" + _lines("Ann", "Bob").encode() * FEWEST_TURNS)
    assert read(path).name == "harbour" and read(path).speakers == ("Ann", "Bob")
    path.write_text("no names")
    with pytest.raises(ValueError, match=r"harbour\.txt: none of 1 lines"):
        read(path)
    path.write_bytes("Zoë: hi".encode("latin-1"))
    with pytest.raises(ValueError, match=r"harbour\.txt: not UTF-8"):
        read(path)


# arranging


def test_an_exchange_flips_the_tags_and_nothing_else():
    talk = _talk(("Bob", "Ann, I think."), ("Ann", "Bob can."), ("Bob", "We will."))
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
    talk = _talk(("Ann", "One."), ("Cem", "Two."), ("Bob", "Three."), ("Ann", "Four."))
    once, twice = exchanged(talk), exchanged(exchanged(talk))
    assert [turn.speaker for turn in once.turns] == ["Bob", "Ann", "Cem", "Bob"]
    for turns in zip(talk.turns, once.turns, twice.turns, strict=True):
        assert {turn.speaker for turn in turns} == {"Ann", "Bob", "Cem"}
    assert exchanged(twice) == talk


@pytest.mark.parametrize("n", (8, 9))
def test_a_shuffle_keeps_what_is_said_and_deals_turns_evenly(n):
    talk = _talk(*[("Ann" if i < n - 2 else "Bob", f"remark {i % 5}") for i in range(n)])
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
    talk = _talk(*[("Ann", f"{i}") for i in range(n - 1)], ("Bob", "last"))
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
    talk = _talk(("Ann", "short"), ("Bob", "much too long"), ("Ann", "short"))
    with pytest.raises(ValueError, match="turn 1 of 'Bob', counting from 0, does not fit"):
        split(talk, lambda piece: len(plain(piece).text) <= 12)


# writing


def test_plain_text_is_the_lines_of_the_transcript():
    talk = _talk(("Bob", "I am."), ("Ann", "Bob: no."), ("Bob", "I am."))
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
    talk = _talk(*zip(("Bob", "Bob", "Ann", "Ann", "Ann", "Ann", "Bob"), said, strict=True))
    written = chat(talk, _templated(template))
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
    tokenizer = _templated(CHATML, family)
    written = chat(_talk(("Ann", "I am."), ("Bob", "You can.")), tokenizer)
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
    talk = _talk(("Ann", "I am."), ("Ann", "You can."), ("Bob", "We will."))
    with pytest.raises(ValueError, match=re.escape(message)):
        chat(talk, _templated(template))


def test_a_chat_has_two_speakers():
    talk = _talk(("Ann", "I am."), ("Bob", "You can."), ("Cem", "We will."))
    with pytest.raises(ValueError, match="3 speakers, but a chat has two"):
        chat(talk, _templated(CHATML))
    with pytest.raises(ValueError, match="'chat' needs a tokenizer"):
        conversations(shipped(), Design(format="chat"))


# labelling


def _words(talk: Transcript, verbs=VERBS) -> dict[str, list[str]]:
    written = plain(talk)
    return {k: [written.text[slice(*s)] for s in v] for k, v in roles(written, verbs).items()}


def test_every_word_has_its_role():
    talk = _talk(
        ("Ann", "Bob, I'm sure that MY sister Maria CAN't come. \"It\" I like?!"),
        ("Bob", "Rosa said \"Will you\", so we'll want Ann's mustard, he WANTS it"),
        ("Ann", "The OK was theirs; I think she should. They like Omar’s will…"),
    )
    assert _words(talk) == {
        "tag": ["Ann", "Bob", "Ann"],
        "last": ["?!", "it", "…"],
        "subject": [
            *("Bob", "I", "MY", "Maria", "It", "I"),
            *("you", "we", "Ann", "he"),
            *("theirs", "I", "she", "They", "Omar"),
        ],
        "verb": ["CAN", "like", "Will", "want", "think", "should", "like", "will"],
        "other": [
            *(",", "'m", "sure", "that", "sister", "'t", "come", ".", '"', '"'),
            *("Rosa", "said", '"', '",', "so", "'ll", "'s", "mustard", ",", "WANTS"),
            *("The", "OK", "was", ";", ".", "’s"),
        ],
    }
    assert _words(talk, ("WAS", "come"))["verb"] == ["come", "was"]


def test_roles_cover_what_is_said_once():
    talk = exchanged(shipped()[2])
    written = plain(talk)
    found = roles(written, VERBS)
    assert tuple(found) == ROLES
    spans = sorted(span for role in ROLES for span in found[role])
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    covered = "".join(written.text[slice(*span)] for span in spans)
    assert covered == "".join(f"{t.speaker}{t.text}" for t in talk.turns).replace(" ", "")


@pytest.mark.parametrize("family", ("gpt2", "qwen2", "llama", "gemma3"))
@pytest.mark.parametrize("arrangement", ("random", "as_written"))
def test_every_token_is_labelled_by_its_last_character(family, arrangement):
    tokenizer = tiny_tokenizer(family)
    made = conversations(shipped()[:2], Design(arrangement=arrangement, copies=1))[1]
    offsets = _offsets(tokenizer, made.text)
    labels = label_tokens(offsets, made)
    written = made.rendered
    assert len(labels.role) == len(labels.turn) == len(labels.speaker) == len(offsets)
    of_turn = Counter()
    for (start, stop), role, turn, speaker in zip(
        offsets, labels.role, labels.turn, labels.speaker, strict=True
    ):
        outside = role == ""
        assert (turn == -1) == (speaker == -1) == outside
        assert outside == (
            start == stop or made.text[stop - 1] in " \n" or stop - 1 in _colons(made)
        )
        if not outside:
            place = written.tags[turn] if role == "tag" else written.turns[turn]
            assert place[0] < stop <= place[1] and speaker == written.speakers[turn]
            of_turn[int(turn)] += role != "tag"
    # counted apart: tokens that end inside the words of a turn, white space alone left out
    for turn, (begin, end) in enumerate(written.turns):
        inside = [o for o in offsets if begin < o[1] <= end and made.text[slice(*o)].strip()]
        assert of_turn[turn] == len(inside)
        last = [i for i in range(len(offsets)) if labels.turn[i] == turn][-1]
        assert labels.role[last] == "last" and offsets[last][1] == end
    assert Counter(labels.role)["last"] == len(written.turns)


def _colons(made) -> set[int]:
    return {stop for _, stop in made.rendered.tags}


def _one(text: str, tag: str = "Ann"):
    talk = _talk((tag, text), ("Bob", "I am."))
    return conversations([talk], Design(arrangement="as_written"))[0]


def test_of_a_long_last_word_only_the_last_token_is_last():
    made = _one("We want tomorrow")
    offsets = [(0, 3), (3, 4), (4, 7), (7, 12), (12, 17), (17, 21), (21, 22)]
    rest = [(22, 25), (25, 26), (26, 28), (28, 31), (31, 32), (32, 33)]
    labels = label_tokens([(0, 0), *offsets, *rest], made)
    assert labels.role.tolist() == [
        *("", "tag", "", "subject", "verb", "other", "last", ""),
        *("tag", "", "subject", "verb", "last", ""),
    ]
    assert labels.turn.tolist() == [-1, 0, -1, 0, 0, 0, 0, -1, 1, -1, 1, 1, 1, -1]
    assert labels.speaker.tolist() == labels.turn.tolist()  # the second speaker has the second turn


def _merging() -> PreTrainedTokenizerFast:
    """Cuts at spaces and keeps ".\\n" in one token, as the tokenizers of Llama 3 and Qwen do."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\w\s]+\n?| ?[\w']+|\s"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def test_a_last_token_may_hold_the_end_of_the_line():
    made = _one("I'm sure, I think!")
    offsets = _offsets(_merging(), made.text)
    labels = label_tokens(offsets, made)
    tokens = [made.text[slice(*o)] for o in offsets]
    assert list(zip(tokens, labels.role.tolist(), labels.turn.tolist(), strict=True)) == [
        ("Ann", "tag", 0),
        (":", "", -1),
        (" I'm", "other", 0),  # ends with the "'m"
        (" sure", "other", 0),
        (",", "other", 0),
        (" I", "subject", 0),
        (" think", "verb", 0),
        ("!\n", "last", 0),
        ("Bob", "tag", 1),
        (":", "", -1),
        (" I", "subject", 1),
        (" am", "verb", 1),
        (".\n", "last", 1),
    ]


def test_offsets_of_another_text_are_refused():
    made = _one("We want tomorrow.")
    offsets = _offsets(_merging(), made.text)
    with pytest.raises(ValueError, match="no token holds characters 32 to 33, '.'"):
        label_tokens(offsets[:-1], made)
    with pytest.raises(ValueError, match="ends at character 99 of 34"):
        label_tokens([*offsets, (98, 99)], made)


def test_a_chat_is_labelled_as_its_lines_are():
    tokenizer = _templated(CHATML, "llama")
    pair = [
        conversations(shipped()[:1], Design(format=form, copies=1), tokenizer=tokenizer)[0]
        for form in ("plain", "chat")
    ]
    lines, messages = (label_tokens(_offsets(tokenizer, made.text), made) for made in pair)
    for role in ROLES[1:]:
        # behind a line feed, and not a space, a first word is cut in other places
        turns = [Counter(x.turn[x.role == role].tolist()) for x in (lines, messages)]
        assert turns[0].keys() == turns[1].keys()
    assert pair[0].rendered.speakers == pair[1].rendered.speakers
    tags = pair[1].rendered.tags
    assert {pair[1].text[slice(*tag)] for tag in tags} == {"user", "assistant"}


# conversations


def test_each_utterance_is_said_by_each_speaker_equally_often():
    made = conversations(shipped(), Design(copies=3, seed=5))
    for transcript in shipped():
        said = {0: Counter(), 1: Counter()}
        for conversation in (c for c in made if c.group == transcript.name):
            written = conversation.rendered
            for span, speaker in zip(written.turns, written.speakers, strict=True):
                said[speaker][written.text[slice(*span)]] += 1
        assert said[0] == said[1] == Counter({turn.text: 3 for turn in transcript.turns})


def test_each_place_of_a_text_belongs_to_each_speaker_equally_often():
    made = conversations(shipped()[:2], Design())
    assert [(c.group, c.copy, c.rotation) for c in made] == [
        (t.name, copy, rotation) for t in shipped()[:2] for copy in (0, 1) for rotation in (0, 1)
    ]
    for first, second in zip(made[::2], made[1::2], strict=True):
        assert [1 - s for s in first.rendered.speakers] == list(second.rendered.speakers)
        said = [[c.text[slice(*s)] for s in c.rendered.turns] for c in (first, second)]
        assert said[0] == said[1]


def test_arrangements_differ_by_copy_and_seed_and_by_nothing_else():
    def texts(**options) -> list[str]:
        return [c.text for c in conversations(shipped()[:2], Design(**options))]

    assert len(set(texts(copies=3))) == 2 * 3 * 2
    assert texts(seed=1) == texts(seed=1)
    assert not set(texts(seed=1)) & set(texts(seed=2))
    assert set(texts(copies=1)) < set(texts(copies=2))
    as_written = texts(arrangement="as_written", copies=3)
    assert as_written == [plain(f(t)).text for t in shipped()[:2] for f in (lambda t: t, exchanged)]


def test_three_speakers_take_three_rotations():
    talk = parse(_lines("Ann", "Bob", "Cem") * 4)
    made = conversations([talk], Design(copies=1))
    assert [c.rotation for c in made] == [0, 1, 2]
    speakers = np.array([c.rendered.speakers for c in made])
    assert (np.sort(speakers, axis=0) == [[0], [1], [2]]).all()


def test_transcripts_that_share_no_classes_are_refused():
    talk, other = parse(_lines("Ann", "Bob") * 4), parse(_lines("Ann", "Cem") * 4, source="other")
    with pytest.raises(ValueError, match="'other' has speakers Ann, Cem, but 'transcript' has Ann"):
        conversations([talk, other], Design())
    with pytest.raises(ValueError, match="2 transcripts are called 'transcript'"):
        conversations([talk, talk], Design())
    with pytest.raises(ValueError, match="no transcripts"):
        conversations([], Design())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"arrangement": "sorted"}, "arrangement 'sorted'; valid are random, as_written"),
        ({"format": "html"}, "format 'html'; valid are plain, chat"),
        ({"copies": 0}, "copies = 0"),
        ({"verbs": ("am", "want to")}, "verb 'want to'"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Design(**options)


def test_a_users_texts_are_conversations_of_one_turn(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(
        "text,label,group,span:who,span:last\n"
        "She was glad to come.,joy,a,She,to come\n"
        "The loss hurt them badly.,grief,b,them,badly\n"
    )
    first, second = from_file(path)
    assert (first.group, second.group) == ("a", "b")
    assert first.rendered.names == ("grief", "joy")
    assert (first.rendered.speakers, second.rendered.speakers) == ((1,), (0,))
    labels = label_tokens(_offsets(_merging(), first.text), first)
    assert labels.role.tolist() == ["who", "", "", "other", "last", ""]
    assert labels.speaker.tolist() == [1, -1, -1, 1, 1, -1]
    assert labels.turn.tolist() == [0, -1, -1, 0, 0, -1]


def test_a_users_texts_need_two_labels(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = '{"text": "It rains.", "label": 1, "spans": {"it": "It"}}'
    path.write_text(f"{row}\n{row}\n")
    with pytest.raises(ValueError, match="every label is 1"):
        from_file(path)
    path.write_text(f"{row}\n{row.replace('1', '2.5')}\n")
    assert [c.rendered.names[c.rendered.speakers[0]] for c in from_file(path)] == ["1", "2.5"]


# the study's own transcripts


def test_shipped_transcripts_are_what_the_design_needs():
    talks = shipped()
    assert len(talks) >= 6 and [t.name for t in talks] == sorted({t.name for t in talks})
    said = [turn.text for talk in talks for turn in talk.turns]
    assert len(set(said)) == len(said)
    for talk in talks:
        assert talk.speakers == talks[0].speakers and len(talk.turns) >= 30
        turns = [re.findall(r"\w+", turn.text.lower()) for turn in talk.turns]
        assert all(6 <= len(words) <= 14 for words in turns)
        words = Counter(word for turn in turns for word in turn)
        assert all(words[verb] >= 3 for verb in VERBS)
        assert sum(words[p] for p in PRONOUNS) > 0.2 * sum(words.values())
        assert all(words[p] for p in ("i", "you", "he", "she", "it", "we", "they", "me", "my"))
        assert np.mean([bool(set(turn) & set(VERBS)) for turn in turns]) > 0.9
        assert not any(words[name.lower()] for name in talk.speakers)


def test_shipped_transcripts_name_a_third_person():
    for talk in shipped():
        persons = [word for word in _words(talk)["subject"] if word.lower() not in PRONOUNS]
        assert len(set(persons)) >= 2, talk.name
        # a capital inside a sentence is a person's in these texts, and never of the two who speak
        assert not set(persons) & set(talk.speakers)
