"""Copies are no witnesses: equal texts are one group, near copies are told or joined, and a
template is no copy."""

import csv
import dataclasses

import numpy as np
import pytest
from tiny_models import tiny_hf, tiny_tokenizer

from interp.duplicates import equal_texts, near_copies
from interp.labelled import read_labelled
from interp.pairs import read_pairs
from interp.run import Run
from studies.date_manifold.__main__ import STUDY as DATES
from studies.date_manifold.__main__ import Config as DateConfig
from studies.speaker_role.__main__ import STUDY as SPEAKERS
from studies.speaker_role.__main__ import Config as SpeakerConfig

NOUNS = [
    "mill",
    "barn",
    "boat",
    "lamp",
    "road",
    "tree",
    "door",
    "wall",
    "roof",
    "well",
    "gate",
    "pond",
    "coat",
    "ship",
    "drum",
]


def _written(path, rows, *, separator=",", columns=("text", "label", "span:word")):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def _noise(kinds, copies, seed=0):
    """Sixty sentences with labels drawn at random, each `copies` times."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(60):
        noun, other = rng.choice(NOUNS, 2, replace=False)
        text = f"By the {noun} number {number} there is a {other} again."
        rows.append((text, kinds[rng.integers(len(kinds))], str(noun)))
    return rows * copies


def test_equal_texts_are_one_group_whatever_their_case_and_white_space():
    texts = ["A mill.", "a  MILL.", "A barn.", "A mill.\u00a0", "Cafe\u0301.", "Caf\u00e9."]
    made = equal_texts(texts)
    assert made.groups.tolist() == [0, 0, 1, 0, 2, 2]
    assert made.copies.tolist() == [[1, 0], [3, 0], [5, 4]]
    # two groups that a file names and that share a text are one
    assert len(set(equal_texts(texts, np.array(list("abcdef"))).groups)) == 3
    assert len(set(equal_texts(texts[:3], np.array(["x", "y", "y"])).groups)) == 1


def test_a_template_is_no_copy_and_a_paraphrase_of_one_fact_is():
    nouns = NOUNS[:8]
    template = [
        f"Today the {noun} by the river is {('hot', 'cold')[i % 2]}."
        for i, noun in enumerate(nouns)
    ]
    stated = [
        [(t.index("hot"), t.index("hot") + 3)]
        if "hot" in t
        else [(t.index("cold"), t.index("cold") + 4)]
        for t in template
    ]
    labels = np.array([i % 2 for i in range(8)])
    assert not len(near_copies(template, stated, labels, np.arange(8)).copies)
    rows = [
        "Ada found seven silver coins under the kitchen floor, hot.",
        "Ada found seven silver coins beneath the kitchen floor, hot.",
        "Nobody in the village remembers who planted this oak, cold.",
        "The ferry to the island leaves twice on weekdays, cold.",
    ]
    stated = [[(len(t) - 4, len(t) - 1)] for t in rows]
    found = near_copies(rows, stated, np.array([1, 1, 0, 0]), np.arange(4))
    assert found.groups[0] == found.groups[1] and len(set(found.groups)) == 3
    # as near to a row of another label: what they share says nothing of the label
    same = [rows[0], rows[1], rows[0].replace("under", "below"), rows[3]]
    assert not len(near_copies(same, stated, np.array([1, 1, 0, 0]), np.arange(4)).copies)


def test_a_file_s_copies_are_told_with_their_lines_and_joined(tmp_path):
    rows = [
        ("Ada found seven silver coins under the kitchen floor.", "1", "coins"),
        ("Ada found seven silver coins beneath the kitchen floor.", "1", "coins"),
        ("Nobody in the village remembers who planted this oak.", "2", "oak"),
        ("the ferry to the island leaves twice on weekdays.", "3", "ferry"),
        ("The ferry to the island  leaves twice on weekdays.", "3", "ferry"),
    ]
    file = _written(tmp_path / "rows.csv", rows)
    read = read_labelled(file)
    assert not read.grouped and read.lines.tolist() == [2, 3, 4, 5, 6]
    assert read.groups[3] == read.groups[4] and len(set(read.groups)) == 4
    assert "keep 4 groups whole: single texts, as the file names no groups" in read.made_of
    assert "1 texts repeat another but for white space and case (lines 6 of 5)" in read.made_of
    assert "near copies" in read.made_of and "--group-near-copies" in read.made_of
    joined = read_labelled(file, group_near_copies=True)
    assert joined.groups[0] == joined.groups[1] and len(set(joined.groups)) == 3


@pytest.mark.parametrize("separator, name", [(";", "a.csv"), ("\t", "a.tsv"), (",", "a.csv")])
def test_tables_of_spreadsheets_are_read(tmp_path, separator, name):
    rows = [("The mill, by the pond; it turns.", "1", "mill"), ("The barn stands.", "2", "barn")]
    plain = read_labelled(_written(tmp_path / "plain.csv", rows))
    file = _written(tmp_path / name, [*rows, ("", "", ""), ("", "", "")], separator=separator)
    assert read_labelled(file).samples == plain.samples  # rows of separators at the end are none


def test_what_is_wrong_with_a_table_is_said_with_its_remedy(tmp_path):
    rows = [("The mill turns.", "1", "mill"), ("", "", ""), ("The barn stands.", "2", "barn")]
    with pytest.raises(ValueError, match="line 3: the row is empty, and more follow"):
        read_labelled(_written(tmp_path / "gap.csv", rows))
    with pytest.raises(ValueError, match=r"no column 'label' among .*\(is 'lable' meant\?\)"):
        read_labelled(
            _written(tmp_path / "name.csv", rows[:1], columns=("text", "lable", "span:w"))
        )
    with pytest.raises(ValueError, match="'.xlsx'.*save the sheet as CSV"):
        read_labelled(tmp_path / "a.xlsx")
    three = _written(tmp_path / "three.csv", [("a", "b", "c")], columns=("id", "English", "中文"))
    with pytest.raises(ValueError, match="keep two of 3.*an id"):
        read_pairs(three)
    semicolons = _written(tmp_path / "x.csv", [("a", "b")], separator=";", columns=("x", "y"))
    with pytest.raises(ValueError, match="separated by commas"):
        read_pairs(semicolons)


def test_pairs_that_repeat_another_on_both_sides_are_left_out(tmp_path):
    rows = [(f"I have {n} books.", f"Tengo {n} libros.") for n in range(5)]
    again = [(f"i have {n}  books.", f"Tengo {n} libros.") for n in range(3)]
    found = read_pairs(_written(tmp_path / "p.csv", rows + again, columns=("English", "Spanish")))
    assert len(found) == 5 and found.copies == 3


# --- whole studies -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-llama")
    tiny_hf("llama", num_hidden_layers=2).save_pretrained(path)
    tiny_tokenizer("llama").save_pretrained(path)
    return str(path)


def _supported(report):
    """What would be supported by itself: corrected over findings, 40 permutations support none."""
    claims = Run.open(report.parent).results()["claims"]
    return [c["statement"] for c in claims if c["p"] is not None and c["p"] <= 0.05]


def test_random_labels_on_sentences_that_stand_there_thrice_support_nothing(checkpoint, tmp_path):
    file = _written(tmp_path / "noise.csv", _noise([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 3))
    common = {
        "model": (checkpoint,),
        "permutations": 40,
        "device": "cpu",
        "jobs": 1,
        "runs": tmp_path,
        "store": tmp_path / "stores",
    }
    report = DATES.run(DateConfig(data=file, folds=2, interventions=0, **common)).report
    assert not _supported(report)
    assert "120 texts repeat another" in report.read_text(encoding="utf-8")
    file = _written(tmp_path / "speakers.csv", _noise(["Ann", "Ben"], 4))
    report = SPEAKERS.run(SpeakerConfig(data=file, **common)).report
    assert not _supported(report)
    page = report.read_text(encoding="utf-8")
    assert "whole transcripts held out" not in page
    assert "single texts held out, as the file names no groups" in page


def test_one_transcript_gives_geometry_and_no_finding_about_transcripts(checkpoint, tmp_path):
    lines = [
        f"{('Ann', 'Ben')[n % 2]}: I will like the {NOUNS[n % 15]} number {n}." for n in range(32)
    ]
    file = tmp_path / "one.txt"
    file.write_text("\n".join(lines))
    report = SPEAKERS.run(
        SpeakerConfig(
            model=(checkpoint,), transcript=(file,), permutations=40, ablations=0, device="cpu",
            jobs=1, runs=tmp_path, store=tmp_path / "stores",
        )
    ).report  # fmt: skip
    run = Run.open(report.parent)
    verdicts = {c["statement"]: c for c in run.results()["claims"]}
    unseen = next(c for s, c in verdicts.items() if s.startswith("It survives on transcripts"))
    assert unseen["verdict"] == "not testable here" and "5 transcripts" in unseen["reason"]
    assert "stretches of turns of the one transcript held out" in unseen["unit"]
    for claim in verdicts.values():
        assert claim["verdict"] != "supported" or "transcripts" not in claim["statement"]
    cells = run.table("cells-1")
    assert {"tag", "verb", "last"} <= set(cells.cell)
    page = report.read_text(encoding="utf-8")
    assert "stretches of turns of one transcript" in page and "pictures" in page


def test_what_can_be_refused_is_refused_before_a_model_is_loaded(checkpoint, tmp_path):
    short, file = tmp_path / "short.txt", tmp_path / "rows.csv"
    short.write_text("Ann: I see.\nBen: You do.\nAnn: I do.")
    _written(file, _noise([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 1))
    own = {"model": ("no-such-model",), "device": "cpu", "runs": tmp_path / "runs"}
    with pytest.raises(ValueError, match="'Ann' has 2 turns, fewer than 4"):
        SPEAKERS.run(SpeakerConfig(transcript=(short,), **own))
    long = tmp_path / "long.txt"
    long.write_text("\n".join(f"{('Ann', 'Ben')[n % 2]}: I see {n}." for n in range(10)))
    twin = tmp_path / "twin.txt"
    twin.write_bytes(long.read_bytes())
    with pytest.raises(ValueError, match="'long' and 'twin' are equal; a copy is no second"):
        SPEAKERS.run(SpeakerConfig(transcript=(long, twin), **own))
    with pytest.raises(ValueError, match="unknown model|no-such-model"):
        SPEAKERS.run(SpeakerConfig(transcript=(long,), **own))
    with pytest.raises(ValueError, match="no-such-model"):
        DATES.run(DateConfig(data=file, **own))
    assert not (tmp_path / "runs").exists()
    for option in ({"task": "weekday"}, {"n": 77}, {"people": 2}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} = .* has no part where data"):
            dataclasses.replace(DateConfig(data=file), **option)
