"""Texts with spans and labels from a CSV or JSONL file.

A row is one text, its label, optionally the group it belongs to, and the places to read:

* CSV: columns `text`, `label`, optionally `group`, and one column `span:<name>` for each span;
* JSONL: `{"text": ..., "label": ..., "group": ..., "spans": {"<name>": ...}}`, one a line.

A span is a place, characters `start` (included) to `stop` (excluded), written `start:stop` in CSV
and `[start, stop]` in JSONL; or the very words, which must then occur in the text exactly once.
"""

import csv
import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from interp.duplicates import equal_texts, near_copies
from interp.positions import Sample, Span, find, stretches

SPAN = "span:"
"""How the name of a CSV column that holds a span begins."""


@dataclass(frozen=True)
class Labelled:
    """The rows of a file, in order."""

    samples: list[Sample]
    """Texts and their spans, which have the same names in the same order in all of them."""
    labels: Shaped[np.ndarray, " n"]
    """Numbers (float64) if every label is one, else strings."""
    groups: Shaped[np.ndarray, " n"]
    """Group of each row, as the file names them, or each row by itself; equal texts are one group
    by construction, and so are near copies where that was asked for."""
    columns: Mapping[str, Shaped[np.ndarray, " n"]]
    """All other columns by name, as strings; "" where a row is silent."""
    grouped: bool
    """Whether the file names groups."""
    lines: Int[np.ndarray, " n"]
    """Line of each row in the file, from 1."""
    made_of: str
    """What folds are made of, in sentences."""

    def numbers(self) -> Float[np.ndarray, " n"]:
        """Labels as numbers.

        Raises:
            ValueError: a label that is no finite number, or labels that are all one.
        """
        if self.labels.dtype != np.float64:
            row = next(row for row, label in enumerate(self.labels) if number(str(label)) is None)
            raise ValueError(
                f"line {self.lines[row]}: label {str(self.labels[row])!r} of row {row}, counting "
                "from 0, is no finite number"
            )
        if np.ptp(self.labels) == 0:
            raise ValueError(
                f"every label is {self.labels[0]}; a geometry needs labels that differ"
            )
        return self.labels

    def period(self) -> float | None:
        """The number in the column `period`; None where there is no such column, or it is empty.

        Raises:
            ValueError: a period that changes, or that is no number above 0.
        """
        column = self.columns.get("period")
        if column is None:
            return None
        periods = np.unique(np.char.strip(column)).tolist()
        if len(periods) > 1:
            raise ValueError(
                f"periods {periods[0]!r} and {periods[1]!r}; all rows need the same, or none has "
                "one"
            )
        period = number(periods[0])
        if periods[0] and (period is None or period <= 0):
            raise ValueError(f"period {periods[0]!r} must be a number above 0, or empty")
        return period


@dataclass(frozen=True)
class _Row:
    place: str
    """File and line, for errors."""
    line: int
    """The line."""
    fields: dict[str, str]
    spans: dict[str, Span | str]
    """A place, or the very words."""


def read_labelled(path: Path | str, *, group_near_copies: bool = False) -> Labelled:
    """Rows of a `.csv`, `.tsv` or `.jsonl` file in UTF-8, as the module describes them.

    A CSV file may be separated by commas, semicolons or tabs. `group_near_copies` makes near copies
    one group (`interp.duplicates`); without it `made_of` tells of them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, no rows, a line that cannot be read, a missing column, text,
            label, group or span, words that do not occur exactly once, a span outside of its text,
            or rows whose spans have different names; the message names the file, the line, the
            bad value and what is valid.
    """
    path = Path(path)
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".tsv": _csv_rows}
    if path.suffix.lower() not in readers:
        spreadsheet = path.suffix.lower() in (".xlsx", ".xls", ".ods")
        hint = "; save the sheet as CSV" if spreadsheet else ""
        valid = ", ".join(readers)
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}; valid are {valid}{hint}")
    try:
        rows = list(readers[path.suffix.lower()](path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it in that encoding") from error
    if not rows:
        raise ValueError(f"{path}: no rows; it needs at least one with a text, a label and spans")
    samples = [_sample(row, tuple(rows[0].spans)) for row in rows]
    labels = [_filled(row, "label") for row in rows]
    grouped = any("group" in row.fields for row in rows)
    others = dict.fromkeys(key for row in rows for key in row.fields)
    given = np.array([_filled(row, "group") for row in rows]) if grouped else None
    lines = np.array([row.line for row in rows])
    groups, made_of = _grouped(samples, labels, given, lines, group_near_copies)
    return Labelled(
        samples,
        _numbers_or_strings(labels),
        groups,
        {
            name: np.array([row.fields.get(name, "") for row in rows])
            for name in others
            if name not in ("text", "label", "group")
        },
        grouped,
        lines,
        made_of,
    )


def _grouped(
    samples: list[Sample],
    labels: list[str],
    given: Shaped[np.ndarray, " n"] | None,
    lines: Int[np.ndarray, " n"],
    group_near_copies: bool,
) -> tuple[Shaped[np.ndarray, " n"], str]:
    """Groups with copies joined, and what folds are made of in sentences."""
    texts = [sample.text for sample in samples]
    equal = equal_texts(texts, given)
    stated = [stretches(next(iter(sample.spans.values()))) for sample in samples]
    near = near_copies(texts, stated, np.array(labels), equal.groups)
    final = near.groups if group_near_copies else equal.groups
    number = len(np.unique(final))
    source = (
        "the groups that the file names"
        if given is not None
        else "single texts, as the file names no groups"
    )
    told = [f"Folds and permutations keep {number} groups whole: {source}."]
    if copies := equal.sentence("texts repeat another but for white space and case", lines):
        told.append(f"{copies}; each is one group with what it repeats.")
    if copies := near.sentence("texts are near copies of another of their label", lines):
        how = (
            "they are one group each"
            if group_near_copies
            else ("they stay apart and may pass for independent: --group-near-copies joins them")
        )
        told.append(f"{copies}; {how}.")
    # groups keep the names that the file gives them where nothing was joined
    if given is not None and number == len(np.unique(given)):
        final = given
    return final, " ".join(told)


def _csv_rows(path: Path) -> Iterator[_Row]:
    """Rows by the standard library's reader, which knows the line where a quoted text ends."""
    with path.open(encoding="utf-8-sig", newline="") as file:  # a mark from Excel is no character
        reader = csv.DictReader(file, strict=True, delimiter=_separator(file.readline()))
        file.seek(0)
        try:
            columns = list(reader.fieldnames or [])
            if columns:
                _check_header(path, columns)
            blank = None
            for fields in reader:
                line = reader.line_num
                if all(not str(value or "").strip() for value in fields.values()):
                    blank = blank or line  # a spreadsheet ends in rows of separators
                    continue
                if blank is not None:
                    raise ValueError(f"{path}, line {blank}: the row is empty, and more follow")
                yield _csv_row(f"{path}, line {line}", line, columns, fields)
        except csv.Error as error:
            here = f"{path}, line {reader.reader.line_num}"
            raise ValueError(f"{here}: no CSV: {error}") from error


def _check_header(path: Path, columns: list[str]) -> None:
    here = f"{path}, line 1"
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise ValueError(f"{here}: column {twice[0]!r} occurs twice in {', '.join(columns)}")
    for name in ("text", "label"):
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.6)
            meant = f" (is {near[0]!r} meant?)" if near else ""
            raise ValueError(f"{here}: no column {name!r} among {', '.join(columns)}{meant}")
    if not any(name.startswith(SPAN) and name != SPAN for name in columns):
        raise ValueError(f"{here}: no column '{SPAN}<name>' among {', '.join(columns)}")


def _separator(header: str) -> str:
    """What separates columns, by the header: spreadsheets of half of Europe write semicolons."""
    return max(",;\t", key=header.count)


def _csv_row(place: str, line: int, columns: list[str], fields: dict) -> _Row:
    # the reader keeps surplus values under None, and gives None where values are missing
    if None in fields or None in fields.values():
        found = sum(value is not None for key, value in fields.items() if key is not None)
        found += len(fields.get(None, ()))
        raise ValueError(f"{place}: {found} values for {len(columns)} columns")
    spans: dict[str, Span | str] = {}
    for column in (name for name in columns if name.startswith(SPAN)):
        spans[column.removeprefix(SPAN)] = _csv_span(place, column, fields[column], fields["text"])
    return _Row(place, line, {k: v for k, v in fields.items() if not k.startswith(SPAN)}, spans)


def _csv_span(place: str, column: str, value: str, text: str) -> Span | str:
    match = re.fullmatch(r"\s*(\d+):(\d+)\s*", value)
    if match is None:
        return value
    if value in text:  # a time of day looks like a place
        raise ValueError(
            f"{place}: {column} = {value!r} may be a place and may be words of the text, which has "
            "them; write the place of the words"
        )
    return int(match[1]), int(match[2])


def _jsonl_rows(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _jsonl_row(f"{path}, line {number}", number, line.strip())


def _jsonl_row(place: str, number: int, line: str) -> _Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{place}: no JSON: {error.msg} at character {error.pos} of {line[:60]!r}"
        ) from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: {line[:60]!r} is no object with text, label and spans")
    for name in ("text", "label", "spans"):
        if name not in row:
            raise ValueError(f"{place}: no {name!r} among {', '.join(row) or 'nothing'}")
    spans = row.pop("spans")
    if not isinstance(spans, dict) or not spans:
        raise ValueError(f"{place}: spans {spans!r} must be an object of at least one span")
    for name, value in row.items():
        if isinstance(value, (list, dict)):
            raise ValueError(f"{place}: {name} = {value!r} must be a string or a number")
    fields = {name: "" if value is None else str(value) for name, value in row.items()}
    return _Row(
        place, number, fields, {name: _json_span(place, name, spans[name]) for name in spans}
    )


def _json_span(place: str, name: str, value: object) -> Span | str:
    if isinstance(value, str):
        return value
    # a bool is an int in Python, but no character
    if isinstance(value, list) and len(value) == 2 and all(type(edge) is int for edge in value):
        return value[0], value[1]
    raise ValueError(f"{place}: span {name!r} = {value!r} must be [start, stop] or words")


def _sample(row: _Row, names: tuple[str, ...]) -> Sample:
    """The row's text with its spans in the order of `names`."""
    text = _filled(row, "text")
    if set(row.spans) != set(names):
        raise ValueError(
            f"{row.place}: spans {', '.join(row.spans)}, but {', '.join(names)} in the first row"
        )
    spans = {name: _placed(row.place, text, name, row.spans[name]) for name in names}
    try:
        return Sample(text, spans)
    except ValueError as error:
        raise ValueError(f"{row.place}: {error}") from error


def _placed(place: str, text: str, name: str, span: Span | str) -> Span:
    if not isinstance(span, str):
        return span
    if not span.strip():
        raise ValueError(f"{place}: span {name!r} is empty; it needs a place or words of the text")
    try:
        return find(text, span)
    except ValueError as error:
        raise ValueError(
            f"{place}: span {name!r}: {error}. Words must occur exactly once, else write their "
            "place"
        ) from None


def _filled(row: _Row, name: str) -> str:
    value = row.fields.get(name, "")
    if not value.strip():
        raise ValueError(f"{row.place}: {name} is empty: {value!r}; every row needs one")
    return value


def _numbers_or_strings(values: list[str]) -> Shaped[np.ndarray, " n"]:
    numbers = [number(value) for value in values]
    return np.array(values if None in numbers else numbers)


def number(value: str) -> float | None:
    """The finite number that a field is, or None if it is a name."""
    try:
        found = float(value)
    except ValueError:
        return None
    # Python also reads "nan" and "1_2" as numbers; in a file they are names
    return found if math.isfinite(found) and "_" not in value else None
