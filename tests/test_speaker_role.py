"""The speaker study: rows of tokens, verdicts on planted speakers, and whole tiny runs."""

import dataclasses
import json
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from browser import needs_browser, visit
from tiny_models import tiny_bridge, tiny_hf, tiny_tokenizer

from interp.claims import judged
from interp.extract import Stores
from interp.run import Run, parse
from interp.store import Store
from interp.study import Subject
from interp.transcripts import parse_transcript
from studies.speaker_role import direction, naive, probing
from studies.speaker_role.__main__ import STUDY, Config
from studies.speaker_role.data import Sources, conversations
from studies.speaker_role.tokens import Tokens, labelled_tokens, naive_tokens, read, tag_attention

DEPTHS = ("embedding", "block 1", "final norm")


# --- rows ----------------------------------------------------------------------------------------


def test_every_labelled_token_is_a_row_with_its_own_activation(tmp_path):
    bridge = tiny_bridge("llama")
    lines = [f"{'Ann' if turn % 2 else 'Ben'}: I like it, {turn}." for turn in range(8)]
    given = [parse_transcript("\n".join(lines[:n]), source=f"talk {n}") for n in (8, 8)]
    given[1] = dataclasses.replace(given[1], name="another")
    talks = conversations(given, Config(copies=1))
    rows = read(bridge, talks, (0, 100), stores=Stores(tmp_path, batch_size=3))
    assert rows.depths == ("embedding", "final norm")
    assert rows.percent.tolist() == [0, 100]
    encoded = bridge.tokenizer([t.text for t in talks], return_offsets_mapping=True)
    # an embedding is the same wherever its token stands, so rows of one token id must agree
    embedding = bridge.W_E[rows.type].detach().numpy()
    np.testing.assert_allclose(rows.read(0), embedding, atol=1e-6)
    for number, talk in enumerate(talks):
        mine = rows.conversation == number
        said = sum(
            1
            for place, (start, stop) in enumerate(encoded["offset_mapping"][number])
            # all but the first token, white space and colons belong to a tag or a turn
            if place and talk.text[start:stop].strip() and _inside(talk, stop - 1)
        )
        assert mine.sum() == said
    assert len(np.unique(rows.group)) == 2 and set(rows.rotation) == {0, 1}
    # a turn has one speaker, and its number is not used by another conversation
    for turn in np.unique(rows.turn):
        inside = rows.turn == turn
        assert len(set(rows.speaker[inside])) == len(set(rows.conversation[inside])) == 1


def _inside(talk, character: int) -> bool:
    spans = (*talk.rendered.tags, *talk.rendered.turns)
    return any(start <= character < stop for start, stop in spans)


def test_of_a_long_conversation_as_many_turns_are_shown_as_fit():
    bridge = tiny_bridge("llama", max_position_embeddings=512)
    remark = "I like the old mill by the river. " * 3
    talk = "\n".join(f"{'Ann' if turn % 2 else 'Ben'}: {remark}" for turn in range(8))
    shown, *_ = conversations([parse_transcript(talk, source="talk")], Config(copies=1))
    view = tag_attention(bridge, shown)
    assert view is not None and 150 < len(view.tokens) <= 256
    one = dataclasses.replace(shown.rendered, turns=((0, len(shown.text)),))
    assert tag_attention(bridge, dataclasses.replace(shown, rendered=one)) is None


# --- verdicts on planted speakers ----------------------------------------------------------------


class _Planted:
    """A store whose rows are noise, with a speaker's direction at chosen depths and roles."""

    def __init__(self, tokens: dict, where: dict[int, str], spread: int, d: int = 24):
        self.hooks = DEPTHS
        self.tokens, self.where, self.spread, self.d = tokens, where, spread, d

    def read(self, hook: str) -> np.ndarray:
        depth = DEPTHS.index(hook)
        rng = np.random.default_rng(depth)
        n = len(self.tokens["role"])
        words = np.random.default_rng(9).standard_normal((50, self.d))
        rows = words[self.tokens["type"]]
        if depth:
            rows = rows + rng.standard_normal((n, self.d))
        sign = 2.0 * self.tokens["speaker"] - 1
        chosen = self.tokens["role"] == self.where.get(depth, "")
        direction = np.zeros(self.d)
        direction[: self.spread] = 1.5 / np.sqrt(self.spread)
        rows[chosen] += sign[chosen, None] * direction
        return rows[:, None]


@cache
def _subject(place: str) -> Subject:
    """Eight transcripts of twelve turns, each once more with the names exchanged."""
    rng = np.random.default_rng(0)
    columns: dict[str, list] = {
        name: [] for name in ("role", "speaker", "turn", "group", "type", "rotation")
    }
    for group in range(8):
        speakers = rng.permutation(np.repeat([0, 1], 6))
        kinds = rng.integers(0, 50, (12, 4))
        for rotation in (0, 1):
            for turn in range(12):
                for role, kind in zip(("tag", "verb", "other", "last"), kinds[turn], strict=True):
                    columns["role"].append(role)
                    columns["speaker"].append(speakers[turn] ^ rotation)
                    columns["turn"].append((group * 2 + rotation) * 12 + turn)
                    columns["group"].append(group)
                    columns["type"].append(kind)
                    columns["rotation"].append(rotation)
    known = {name: np.array(values) for name, values in columns.items()}
    n = len(known["role"])
    where = {"verb at block 1": {1: "verb"}, "nowhere": {}}[place]
    rows = Tokens(
        store=cast(Store, _Planted(known, where, 3)),
        depths=DEPTHS,
        percent=np.array([0.0, 50.0, 100.0]),
        classes=("Alice", "Bob"),
        unit="transcript",
        conversation=np.arange(n),
        slot=np.zeros(n, dtype=int),
        **known,
    )
    return _about("planted", rows)


def _about(name: str, rows: Tokens) -> Subject:
    """A subject whose tokens are given, and which has no model to ablate anything in."""
    config = Config(
        model=(name,), folds=4, permutations=40, C=0.1, jobs=1, ablations=0,
        runs=Path(tempfile.mkdtemp()),
    )  # fmt: skip
    known = {labelled_tokens: rows, naive_tokens: None}
    run = Run.__new__(Run)  # of which no question asks anything
    return Subject(name, 1, config, Sources(), run, _answers=known)


QUESTIONS = (probing.told_apart, naive.exchanged, direction.linear, naive.naive_design)


def _claims(subject: Subject) -> dict:
    return {c.statement: c for question in QUESTIONS for c in subject.ask(question).claims}


def _verdict(claims: dict, beginning: str) -> str:
    """By itself: 40 permutations leave no p that a correction over findings would let pass."""
    (claim,) = (c for s, c in claims.items() if s.startswith(beginning))
    return judged([claim])[0].verdict


def test_a_planted_speaker_is_found_in_its_depth_and_role_and_survives():
    subject = _subject("verb at block 1")
    claims, probed = _claims(subject), subject.ask(probing.probes)
    assert probed.where == "block 1, verb"
    assert np.argwhere(probed.grid.survives()).tolist() == [[1, probed.grid.cells.index("verb")]]
    for beginning in ("Words that do not name", "It survives when the names"):
        assert _verdict(claims, beginning) == "supported", beginning
    assert claims["What the blocks add to what the words themselves give away."].estimate > 0.3
    assert claims["How the difference of means does beside the whole probe."].estimate > 0.8
    assert claims["Depths that come near the best."].estimate == pytest.approx(100 / 3)
    exchange = subject.ask(naive.exchange)
    assert exchange is not None and exchange.where == "block 1, verb"
    low, high = exchange.interval or (np.nan, np.nan)
    assert 0.5 < low < exchange.accuracy < high
    over_depths, over_roles = subject.ask(direction.transfers).values()
    assert "embedding" not in over_depths.names  # one mean for both speakers by design
    assert set(over_roles.names) == set(probed.grid.cells)


def test_noise_supports_nothing_and_asks_nothing_further():
    claims = _claims(_subject("nowhere"))
    for beginning in ("Words that do not name", "It survives when"):
        assert _verdict(claims, beginning) == "undecided", beginning
    assert {c.verdict for c in claims.values() if c.kind == "description"} == {"described"}


def test_models_that_peak_apart_are_said_to_differ():
    subject = _subject("verb at block 1")
    moved = dataclasses.replace(subject.ask(labelled_tokens), percent=np.array([0.0, 90.0, 100.0]))
    for other, distance in ((moved, 40), (subject.ask(labelled_tokens), 0)):
        (claim,) = probing.peaks([subject, _about("other", other)], Sources()).claims
        assert claim.estimate == distance


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def few_points():
    """t-SNE of 300 tokens takes a second a panel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naive, "SHOWN", 20)
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-llama")
    tiny_hf("llama").save_pretrained(path)
    tiny_tokenizer("llama").save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def config(checkpoint, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    lines = [f"{'Ann' if turn % 2 else 'Ben'}: I will like it {turn}." for turn in range(10)]
    files = []
    for number in range(4):
        files.append(root / f"talk-{number}.txt")
        files[-1].write_text("\n".join(line.replace("it", f"thing {number}") for line in lines))
    return Config(
        model=(checkpoint,), transcript=tuple(files), copies=1, permutations=40, ablations=0,
        device="cpu", jobs=1, runs=root, store=root / "stores",
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(config):
    return STUDY.run(config).report


def test_a_run_leaves_claims_table_report_and_manifest(report, config):
    run = Run.open(report.parent)
    (name,) = config.model
    claims = run.results()["claims"]
    assert {c["subject"] for c in claims} == {name}
    found = [c for c in claims if c["kind"] == "finding"]
    assert all(c["reason"] and c["exchange"] for c in found)
    assert sum(c["primary"] for c in found) == 1
    cells = run.table("cells-1")
    assert set(cells.cell) == {"tag", "subject", "verb", "other", "last"}
    # a tag names the speaker, even to a random model
    tags = cells[(cells.cell == "tag") & (cells.block == "embedding")]
    assert tags.score.item() == 1
    assert run.manifest["recorded"][f"texts {name}"] and run.manifest["recorded"]["texts"]


def test_a_second_run_reads_the_same_store_and_finds_the_same(report, config):
    again = STUDY.run(config).report
    results = [json.loads((p.parent / "results.json").read_text()) for p in (report, again)]
    assert results[0] == results[1]


@needs_browser
def test_the_report_opens_without_a_network(report):
    seen = visit(report)
    assert seen.errors == [] and seen.requests == []
    assert seen.plots == 10 and seen.views == 1
    assert "Words that do not name the speaker tell who speaks, in transcripts" in seen.text


def test_all_blocks_as_written_and_several_models(config, checkpoint, tmp_path):
    other = tmp_path / "tiny-qwen"
    tiny_hf("qwen3").save_pretrained(other)
    tiny_tokenizer("qwen3").save_pretrained(other)
    chosen = dataclasses.replace(
        config, model=(checkpoint, str(other)), blocks="all", arrangement="as_written"
    )
    run = Run.open(STUDY.run(chosen).path)
    subjects = {c["subject"] for c in run.results()["claims"]}
    assert subjects == {checkpoint, str(other), ""}  # "": the models compared
    assert len(set(run.table("cells-1").block)) > 3


def test_three_speakers_are_told_apart_without_a_direction(config, tmp_path):
    names, files = ("Ann", "Ben", "Cy"), []
    for number in range(4):
        lines = [f"{names[turn % 3]}: I will like {number} or {turn}." for turn in range(12)]
        files.append(tmp_path / f"talk-{number}.txt")
        files[-1].write_text("\n".join(lines))
    run = Run.open(STUDY.run(dataclasses.replace(config, transcript=tuple(files))).path)
    cells = run.table("cells-1")
    assert cells[(cells.cell == "tag") & (cells.block == "embedding")].score.item() == 1
    assert cells.direction_accuracy.isna().all()
    (told,) = (c for c in run.results()["claims"] if c["statement"].startswith("Words that do"))
    assert told["controls"]["chance"] == pytest.approx(1 / 3)


def test_texts_of_ones_own_are_probed(config, tmp_path):
    rows = []
    for number in range(40):
        kind = "hot" if number % 2 else "cold"
        text = f"Today, number {number}, the soup is {kind} again."
        rows.append(
            {"text": text, "label": kind, "group": f"day {number // 4}", "spans": {"word": kind}}
        )
    file = tmp_path / "soup.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    chosen = dataclasses.replace(
        config, data=file, transcript=(), copies=Config.copies, ablations=Config.ablations
    )
    run = Run.open(STUDY.run(chosen).path)
    cells = run.table("cells-1")
    assert (cells[cells.cell == "word"].p_family <= 0.05).all()
    made = {c["statement"]: c for c in run.results()["claims"]}
    naive = made["What token-wise folds on one transcript give for its words."]
    assert naive["estimate"] is None and "more turns" in naive["reason"]


def test_the_command_line_explains_every_field(capsys):
    with pytest.raises(SystemExit):
        parse(Config, ["--help"], prog="speaker", description="")
    shown = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in shown or field.name == "C"
    with pytest.raises(ValueError, match="permutations = 5; it must be at least 40"):
        Config(permutations=5)
    with pytest.raises(ValueError, match="data and transcript exclude each other"):
        Config(data=SimpleNamespace(), transcript=(SimpleNamespace(),))  # pyright: ignore
