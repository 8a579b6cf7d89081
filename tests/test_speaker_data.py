"""The speaker study's data: what is said does not tell who speaks, and every token is labelled by
where its characters stand."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from talks import CHATML, lines, templated, transcript_of
from tiny_models import tiny_tokenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from interp.rendering import plain
from interp.transcripts import Transcript, exchanged, parse_transcript
from studies.speaker_role.__main__ import Config
from studies.speaker_role.data import (
    PRONOUNS,
    ROLES,
    Sources,
    conversations,
    from_file,
    roles,
    shipped,
    texts,
)
from studies.speaker_role.tokens import label_tokens

VERBS = Config().verbs


def _offsets(tokenizer, text: str) -> list[tuple[int, int]]:
    return [tuple(o) for o in tokenizer(text, return_offsets_mapping=True)["offset_mapping"]]


# labelling


def _words(talk: Transcript, verbs=VERBS) -> dict[str, list[str]]:
    written = plain(talk)
    return {k: [written.text[slice(*s)] for s in v] for k, v in roles(written, verbs).items()}


def test_every_word_has_its_role():
    talk = transcript_of(
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
    made = conversations(shipped()[:2], Config(arrangement=arrangement, copies=1))[1]
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
    talk = transcript_of((tag, text), ("Bob", "I am."))
    return conversations([talk], Config(arrangement="as_written"))[0]


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
    tokenizer = templated(CHATML, "llama")
    pair = [
        conversations(shipped()[:1], Config(format=form, copies=1), tokenizer=tokenizer)[0]
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
    made = conversations(shipped(), Config(copies=3, seed=5))
    for transcript in shipped():
        said = {0: Counter(), 1: Counter()}
        for conversation in (c for c in made if c.group == transcript.name):
            written = conversation.rendered
            for span, speaker in zip(written.turns, written.speakers, strict=True):
                said[speaker][written.text[slice(*span)]] += 1
        assert said[0] == said[1] == Counter({turn.text: 3 for turn in transcript.turns})


def test_each_place_of_a_text_belongs_to_each_speaker_equally_often():
    made = conversations(shipped()[:2], Config())
    assert [(c.group, c.copy, c.rotation) for c in made] == [
        (t.name, copy, rotation) for t in shipped()[:2] for copy in (0, 1) for rotation in (0, 1)
    ]
    for first, second in zip(made[::2], made[1::2], strict=True):
        assert [1 - s for s in first.rendered.speakers] == list(second.rendered.speakers)
        said = [[c.text[slice(*s)] for s in c.rendered.turns] for c in (first, second)]
        assert said[0] == said[1]


def test_arrangements_differ_by_copy_and_seed_and_by_nothing_else():
    def written(**options) -> list[str]:
        return [c.text for c in conversations(shipped()[:2], Config(**options))]

    assert len(set(written(copies=3))) == 2 * 3 * 2
    assert written(seed=1) == written(seed=1)
    assert not set(written(seed=1)) & set(written(seed=2))
    assert set(written(copies=1)) < set(written(copies=2))
    as_written = written(arrangement="as_written", copies=3)
    assert as_written == [plain(f(t)).text for t in shipped()[:2] for f in (lambda t: t, exchanged)]


def test_three_speakers_take_three_rotations():
    talk = parse_transcript(lines("Ann", "Bob", "Cem") * 4)
    made = conversations([talk], Config(copies=1))
    assert [c.rotation for c in made] == [0, 1, 2]
    speakers = np.array([c.rendered.speakers for c in made])
    assert (np.sort(speakers, axis=0) == [[0], [1], [2]]).all()


def test_transcripts_that_share_no_classes_are_refused():
    talk, other = (
        parse_transcript(lines("Ann", "Bob") * 4),
        parse_transcript(lines("Ann", "Cem") * 4, source="other"),
    )
    with pytest.raises(ValueError, match="'other' has speakers Ann, Cem, but 'transcript' has Ann"):
        conversations([talk, other], Config())
    with pytest.raises(ValueError, match="2 transcripts are called 'transcript'"):
        conversations([talk, talk], Config())
    with pytest.raises(ValueError, match="no transcripts"):
        conversations([], Config())


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
        texts(Config(**options))


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


def test_what_is_studied_is_told_by_its_number_and_known_by_all_of_its_texts(tmp_path):
    talks = shipped()
    assert Sources(talks).describe() == "8 transcripts"
    assert Sources(talks[:1]).describe() == "1 transcript"
    other = (*talks[:-1], exchanged(talks[-1]))
    assert Sources(talks).fingerprint() == texts(Config()).fingerprint()
    assert Sources(other).fingerprint() != Sources(talks).fingerprint()
    path = tmp_path / "rows.csv"
    path.write_text("text,label,span:who\nShe came.,1,She\nThey came.,2,They\n")
    assert texts(Config(data=path)).describe() == "2 texts"


def test_turns_that_change_the_speaker_are_counted():
    talk = transcript_of(("Ann", "One."), ("Bob", "Two."), ("Bob", "Three."))
    other = transcript_of(("Ann", "One."), ("Ann", "Two."), ("Bob", "Three."), name="other")
    assert Sources((talk, other)).changes == 50


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
