"""Files of texts: both formats say the same, and what is wrong with a row is said with its line."""

import csv
import json
import re

import numpy as np
import pytest

from interp.labelled import read_labelled

ROWS = [
    {"text": "The vote is on Friday, 9:30.", "label": "4", "group": "a", "note": "é, quoted"},
    {"text": "Two\nlines: Monday it is, 8:00.", "label": "0", "group": "a", "note": ""},
    {"text": "We open on Sunday at 7:15.", "label": "6", "group": "7", "note": "x"},
]
WORDS = [
    {"day": "Friday", "time": (23, 27)},
    {"day": "Monday", "time": (25, 29)},
    {"day": "Sunday", "time": (21, 25)},
]


def _write(path, rows, spans):
    if path.suffix == ".jsonl":
        lines = (json.dumps(row | {"spans": span}) for row, span in zip(rows, spans, strict=True))
        path.write_text("\n".join(lines), encoding="utf-8")
        return path
    columns = [*rows[0], *(f"span:{name}" for name in spans[0])]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row, span in zip(rows, spans, strict=True):
            written = (v if isinstance(v, str) else f"{v[0]}:{v[1]}" for v in span.values())
            writer.writerow([*row.values(), *written])
    return path


@pytest.mark.parametrize("name", ("rows.csv", "rows.jsonl", "ROWS.CSV"))
def test_rows_are_read_as_they_are_written(tmp_path, name):
    read = read_labelled(_write(tmp_path / name, ROWS, WORDS))
    assert [s.text for s in read.samples] == [row["text"] for row in ROWS]
    marked = [[s.text[slice(*span)] for span in s.spans.values()] for s in read.samples]
    assert marked == [["Friday", "9:30"], ["Monday", "8:00"], ["Sunday", "7:15"]]
    assert {tuple(s.spans) for s in read.samples} == {("day", "time")}
    assert read.labels.dtype == np.float64 and read.labels.tolist() == [4, 0, 6]
    assert read.groups.tolist() == ["a", "a", "7"]
    assert {k: v.tolist() for k, v in read.columns.items()} == {"note": ["é, quoted", "", "x"]}


def test_a_mark_at_the_beginning_of_a_file_is_not_part_of_it(tmp_path):
    plain = _write(tmp_path / "rows.csv", ROWS, WORDS)
    marked = tmp_path / "marked.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert read_labelled(marked).samples == read_labelled(plain).samples


def test_rows_without_groups_are_their_own(tmp_path):
    rows = [{"text": row["text"], "label": row["label"]} for row in ROWS]
    read = read_labelled(_write(tmp_path / "rows.csv", rows, WORDS))
    assert read.groups.tolist() == [0, 1, 2] and not read.columns


@pytest.mark.parametrize("odd", ("warm", "nan", "1_2", "inf"))
def test_labels_are_numbers_only_if_all_of_them_are(tmp_path, odd):
    rows = [ROWS[0], ROWS[1] | {"label": odd}, ROWS[2]]
    assert read_labelled(_write(tmp_path / "rows.csv", rows, WORDS)).labels.tolist() == [
        "4",
        odd,
        "6",
    ]


def test_numbers_of_json_are_fields_too_and_spans_come_in_the_first_rows_order(tmp_path):
    rows = [ROWS[0] | {"label": 4.5, "period": 7}, ROWS[1] | {"label": -1, "period": None}]
    spans = [WORDS[0], {"time": [26, 30], "day": "Monday"}]
    read = read_labelled(_write(tmp_path / "rows.jsonl", rows, spans))
    assert read.labels.tolist() == [4.5, -1]
    assert read.columns["period"].tolist() == ["7", ""]
    assert [tuple(s.spans) for s in read.samples] == [("day", "time")] * 2


HEADER = "text,label,span:day\n"
GOOD = "On Friday.,4,Friday\n"

BAD_CSV = {
    "": "no rows",
    HEADER: "no rows",
    "text,span:day\nOn Friday.,Friday\n": "line 1: no column 'label' among text, span:day",
    "label,span:day\n4,Friday\n": "line 1: no column 'text' among label, span:day",
    "text,label\nOn Friday.,4\n": "line 1: no column 'span:<name>' among text, label",
    "text,label,span:\nOn Friday.,4,Friday\n": "no column 'span:<name>' among",
    "text,label,label,span:day\nOn Friday.,4,4,Friday\n": "column 'label' occurs twice",
    HEADER + GOOD + " ,4,0:1\n": "line 3: text is empty: ' '",
    HEADER + GOOD + "On Friday.,,Friday\n": "line 3: label is empty: ''",
    HEADER + GOOD + "On Friday.,4, \n": "line 3: span 'day' is empty",
    HEADER + GOOD + "On Friday.,4,Monday\n": "line 3: span 'day': 'Monday' occurs 0 times in",
    HEADER + GOOD + "Friday or Friday,4,Friday\n": "line 3: span 'day': 'Friday' occurs 2 times",
    HEADER + GOOD + "anana,4,ana\n": "line 3: span 'day': 'ana' occurs 2 times",
    HEADER + GOOD + "On Friday.,4,3:11\n": r"line 3: span 'day' = \(3, 11\) marks no character of",
    HEADER + GOOD + "On Friday.,4,5:5\n": r"line 3: span 'day' = \(5, 5\) marks no character of",
    HEADER + GOOD + "At 0:2 it ends.,4,0:2\n": "line 3: span:day = '0:2' may be a place and may be",
    HEADER + GOOD + "On Friday.,4\n": "line 3: 2 values for 3 columns",
    HEADER + GOOD + "On Friday.,4,Friday,x\n": "line 3: 4 values for 3 columns",
    HEADER + '"On\nFriday.",4,Friday\nx,4,y\n': "line 4: span 'day': 'y' occurs 0 times in 'x'",
    HEADER + '"On Friday.,4,Friday\n': "line 2: no CSV",
    "text,label,group,span:day\nOn Friday.,4,,Friday\n": "line 2: group is empty",
}


@pytest.mark.parametrize("content", BAD_CSV, ids=BAD_CSV.values())
def test_a_bad_csv_file_is_refused_with_its_line(tmp_path, content):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=BAD_CSV[content]) as caught:
        read_labelled(path)
    assert str(caught.value).startswith(str(path))


SPANS = {"day": "Friday"}
BAD_JSONL = {
    "\n": "no rows",
    "{": "line 2: no JSON: .* at character 1 of '{'",
    "[1]": r"line 2: '\[1\]' is no object",
    json.dumps({"label": 4, "spans": SPANS}): "line 2: no 'text' among label, spans",
    json.dumps({"text": "On Friday.", "spans": SPANS}): "line 2: no 'label' among text, spans",
    json.dumps({"text": "On Friday.", "label": 4}): "line 2: no 'spans' among text, label",
    json.dumps({"text": "On Friday.", "label": 4, "spans": {}}): "line 2: spans {} must be",
    json.dumps({"text": "On Friday.", "label": None, "spans": SPANS}): "line 2: label is empty",
    json.dumps({"text": "On Friday.", "label": [4], "spans": SPANS}): r"line 2: label = \[4\] must",
    json.dumps({"text": "On Friday.", "label": 4, "spans": {"day": [3]}}): (
        r"line 2: span 'day' = \[3\] must be \[start, stop\] or words"
    ),
    json.dumps({"text": "On Friday.", "label": 4, "spans": {"day": [True, 9]}}): (
        r"line 2: span 'day' = \[True, 9\] must be"
    ),
    json.dumps({"text": "On Friday.", "label": 4, "spans": {"day": [-2, 9]}}): (
        r"line 2: span 'day' = \(-2, 9\) marks no character"
    ),
    json.dumps({"text": "On Friday.", "label": 4, "spans": {"on": "On"}}): (
        "line 2: spans on, but day in the first row"
    ),
    json.dumps({"text": "On Friday.", "label": 4, "group": "", "spans": SPANS}): (
        "line 1: group is empty: ''"  # once one row has a group, the others need one
    ),
}


@pytest.mark.parametrize("line", BAD_JSONL, ids=BAD_JSONL.values())
def test_a_bad_jsonl_file_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "bad.jsonl"
    good = json.dumps({"text": "On Friday.", "label": 4, "spans": SPANS})
    path.write_text(line if line == "\n" else f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=BAD_JSONL[line]) as caught:
        read_labelled(path)
    assert str(caught.value).startswith(str(path))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=re.escape("unknown suffix '.txt'; valid are .csv, .jsonl")
    ):
        read_labelled(tmp_path / "rows.txt")
    with pytest.raises(FileNotFoundError, match="rows.csv"):
        read_labelled(tmp_path / "rows.csv")
    latin = tmp_path / "latin.csv"
    latin.write_bytes((HEADER + "On Freitag é.,4,Freitag\n").encode("latin-1"))
    with pytest.raises(ValueError, match="latin.csv: not UTF-8"):
        read_labelled(latin)
