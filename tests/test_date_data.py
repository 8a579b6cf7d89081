"""The date study's data: sentences say their labels, words sit where the spans say, and what is
exchanged together stays together."""

import csv
import dataclasses
import datetime
import hashlib
import json
import re
from typing import get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest

from interp.stats import grouped_folds
from studies.date_manifold.__main__ import Config
from studies.date_manifold.data import (
    DAYS_IN_MONTH,
    FIRST_DAY,
    TASKS,
    WEEKDAYS,
    Dataset,
    from_file,
    generate,
)


def _said(data: Dataset, row: int) -> dict[str, str]:
    """The words of a text, as its spans mark them."""
    sample = data.samples[row]
    return {name: sample.text[slice(*span)] for name, span in sample.spans.items()}


def _date(day: float) -> datetime.date:
    return datetime.date(2023, 1, 1) + datetime.timedelta(days=int(day))


def _day_of_year(date: str) -> int:
    """From 0, of a date such as "3 May"."""
    return int(pd.Timestamp(f"{date} 2023").dayofyear) - 1


def _label_said(task: str, words: dict[str, str]) -> float:
    """The label as a reader of the text finds it, by other means than the templates'."""
    if task == "birthday":
        day = words["[day]"].rstrip("sthndr")
        return _day_of_year(f"{day} {words['[month]']}")
    if task == "weekday":
        days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
        return days.index(words["[weekday]"])
    if task == "hour":
        return pd.Timestamp(f"2023-01-01 {words['[hour]']} {words['[half]']}").hour
    if task == "duration":
        days = {"day": 1, "week": 7, "month": 30, "year": 365}
        return int(words["[number]"]) * days[words["[unit]"].removesuffix("s")]
    return int(words["[age]"])


@pytest.mark.parametrize("task", TASKS)
def test_every_sentence_says_its_label_and_marks_every_word(task):
    data = generate(task, 400, seed=1)
    for row, sample in enumerate(data.samples):
        words = _said(data, row)
        assert _label_said(task, words) == data.labels[row]
        assert " ".join(words.values()) == sample.text.replace(".", "").replace(",", "")
        assert words["[sport]"] in ("tennis", "chess", "golf", "soccer", "hockey", "rugby")
    # what comes first is one of the label's slots, and all of them have come with the source
    slots = {"[day]", "[month]", "[weekday]", "[hour]", "[half]", "[number]", "[unit]", "[age]"}
    stating = [i for i, word in enumerate(data.positions) if word in slots]
    assert data.before == stating[0] and data.positions[stating[-1]] == data.source
    assert data.positions.index(data.destination) > data.positions.index("[sport]") > stating[-1]
    assert data.category.max() == len(data.categories) - 1


def test_birthday_sentences_are_those_of_earlier_runs():
    """Texts, spans, labels, their permutation and their shuffled orders, by hash."""
    data = generate("birthday", 400, seed=3)
    texts = [[sample.text, list(sample.spans.items())] for sample in data.samples]
    moved = data.permuted(5)
    numbers = [a.astype(int).tolist() for a in (data.labels, moved.labels, moved.category)]
    numbers.append(data.shuffled_orders(3, seed=2).tolist())
    assert [
        hashlib.sha256(json.dumps(known).encode()).hexdigest() for known in (texts, numbers)
    ] == [
        "ff68ba17d9dbd08721c66f58a0edc7897259b82848b4b2a35223c75ac52a9eb5",
        "6407468929a503d6b395556b335d1e6dd70dd41f4012b37642878015764d40f7",
    ]


def test_birthdays_have_their_month_and_every_day_comes_as_often():
    dates = generate("birthday", 800, seed=1)
    assert dates.category.tolist() == [_date(day).month - 1 for day in dates.labels]
    assert len(dates.positions) == 33 and dates.positions[:6] == (
        "[name]",
        "was",
        "born",
        "on",
        "the",
        "[day]",
    )
    assert np.bincount(dates.groups, minlength=365).min() == 2  # as evenly as 800 allows


def test_ordinals_are_english():
    words = {s.text.split()[5] for s in generate("birthday", 365, seed=0).samples}
    assert {"1st", "2nd", "3rd", "11th", "12th", "13th", "21st", "22nd", "23rd", "31st"} <= words
    assert len(words) == 31


def test_durations_are_english_and_units_do_not_overlap():
    data = generate("duration", 200, seed=0)
    written = {(w["[number]"], w["[unit]"]) for w in (_said(data, row) for row in range(200))}
    assert all((number == "1") == (not unit.endswith("s")) for number, unit in written)
    assert {("1", "week"), ("4", "weeks"), ("1", "year"), ("9", "years")} <= written
    assert len(written) == 28 == len(np.unique(data.labels))
    reach = [data.labels[data.category == unit] for unit in range(4)]
    assert [(r.min(), r.max()) for r in reach] == [(2, 6), (7, 28), (60, 330), (365, 3285)]
    names = [_said(data, row)["[unit]"].removesuffix("s") + "s" for row in range(200)]
    assert names == [data.categories[unit] for unit in data.category]


@pytest.mark.parametrize("task", TASKS)
def test_folds_never_split_what_is_exchanged(task):
    data = generate(task, 150, seed=2)
    texts = np.array([sample.text for sample in data.samples])
    for train, test in grouped_folds(data.groups, 5, 0):
        assert not set(texts[train]) & set(texts[test])
        if task in ("birthday", "duration", "age"):  # labels enough to hold some out
            assert not set(data.labels[train]) & set(data.labels[test])


@pytest.mark.parametrize(("task", "count"), (("weekday", 7), ("hour", 24)))
def test_sentences_of_few_labels_never_repeat(task, count):
    # 2000 draws from 9072 sentences at random would repeat about 220 of them
    data = generate(task, 2000, seed=0)
    assert len({sample.text for sample in data.samples}) == 2000
    assert np.ptp(np.bincount(data.category, minlength=count)) <= 1
    with pytest.raises(
        ValueError, match=f"n = {1296 * count + 1}: task '{task}' has {1296 * count}"
    ):
        generate(task, 1296 * count + 1, seed=0)


# --- two people ----------------------------------------------------------------------------------


def _births(text: str) -> list[tuple[str, int]]:
    """(name, day of the year) of everyone of whom the text tells the birth, as it stands."""
    found = re.findall(r"(\w+) was born on the (\d+)\w\w of (\w+)\.", text)
    return [(name, _day_of_year(f"{day} {month}")) for name, day, month in found]


def test_of_two_people_the_one_of_the_last_sentence_is_asked_after():
    data = generate("birthday", 730, seed=4, people=2)
    assert data.other is not None and data.before == 0
    first = 0
    for row, sample in enumerate(data.samples):
        births = _births(sample.text)
        asked = re.search(
            r"(\w+) invites everyone to a big party on (his|her) birthday\.$", sample.text
        )
        assert asked is not None and len(dict(births)) == 2
        assert dict(births)[asked[1]] == data.labels[row]
        (second,) = dict(births).keys() - {asked[1]}
        assert dict(births)[second] == data.other[row] != data.labels[row]
        first += births[0][0] == asked[1]

        words = _said(data, row)
        assert words["[name]"] == words["[name] 2"] == words["[name] 3"] == asked[1]
        assert words["[name] (other)"] == second
        assert words["[month]"] == f"{_date(data.labels[row]):%B}"
        assert words["[month] (other)"] == f"{_date(data.other[row]):%B}"
        assert int(words["[day] (other)"].rstrip("sthndr")) == _date(data.other[row]).day
        assert (asked[2] == "her") == (asked[1] in ("Alice", "Carol", "Emma"))
        assert words["birthday"] == "birthday" and f"{asked[1]} plays" in sample.text
    assert first == 365  # half of the texts
    assert data.positions[:9] == (
        *("[name]", "was", "born", "on", "the", "[day]", "of", "[month]"),
        "[name] (other)",
    )


def test_the_two_dates_are_independent_and_as_even_and_held_out_together():
    data = generate("birthday", 730, seed=4, people=2)
    assert data.other is not None
    assert (np.bincount(data.other.astype(int)) == 2).all()
    for train, test in grouped_folds(data.groups, 5, 0):
        assert not set(data.labels[train]) & set(data.labels[test])
        assert not set(data.other[train]) & set(data.other[test])
    # of 365 independent pairs the length of the mean resultant of sum and of difference is about
    # 1 / sqrt(365) = .05, and above 3 times that in 1e-4 of draws (exp(-9)); a lag would give 1
    for sign in (1, -1):
        angles = 2 * np.pi * (data.labels + sign * data.other) / 365
        assert abs(np.exp(1j * angles).mean()) < 3 / np.sqrt(365)
    # who stands first says nothing of the date: the mean label differs by less than 4 standard
    # errors, of which each of two halves of 365 has 105 / sqrt(365)
    first = np.array(
        [s.text.startswith(_said(data, i)["[name]"]) for i, s in enumerate(data.samples)]
    )
    gap = abs(data.labels[first].mean() - data.labels[~first].mean())
    assert gap < 4 * 105 * np.sqrt(2 / 365)


# --- permutations and orders ---------------------------------------------------------------------


@pytest.mark.parametrize(("task", "people"), [*((task, 1) for task in TASKS), ("birthday", 2)])
def test_permuted_labels_move_with_all_that_belongs_to_them(task, people):
    data = generate(task, 500, seed=0, people=people)
    moved = data.permuted(7)
    assert moved.samples == data.samples and (moved.groups == data.groups).all()
    assert (
        moved.labels != data.labels
    ).mean() > 0.8  # 6/7 of the rows move where there are 7 labels

    def known(dataset):
        columns = [dataset.labels, dataset.category]
        return set(zip(*columns, *([dataset.other] if people == 2 else []), strict=True))

    assert known(moved) == known(data)
    for group in np.unique(data.groups):
        assert len(np.unique(moved.labels[data.groups == group])) == 1
    assert (data.permuted(7).labels == moved.labels).all()
    assert (data.permuted(8).labels != moved.labels).any()


def test_shuffled_orders_keep_days_within_their_month():
    dates = generate("birthday", 365, seed=0)
    for label in dates.shuffled_orders(5, seed=3):
        assert sorted(label) == list(range(365))  # a year all the same
        for month in range(12):
            inside = dates.category == month
            shift = label[inside] - (dates.labels[inside] - FIRST_DAY[month])
            assert np.ptp(shift) == 0
            assert inside.sum() == DAYS_IN_MONTH[month]


def test_shuffled_orders_of_single_values_exchange_them_and_are_never_the_true_order():
    data = generate("weekday", 28, seed=0)
    distance = _ring(data.labels)
    orders = data.shuffled_orders(2000, seed=0)  # 14 of 5040 orders are the week turned or mirrored
    for label in orders:
        assert len(set(zip(data.labels, label, strict=True))) == 7 == len(set(label))
        assert set(label) == set(range(7))
        assert (_ring(label) != distance).any()


def _ring(label: np.ndarray) -> np.ndarray:
    steps = np.abs(label[:, None] - label) % 7
    return np.minimum(steps, 7 - steps)


def test_shuffled_orders_of_durations_keep_the_place_within_a_unit_on_the_logarithmic_axis():
    data = generate("duration", 56, seed=0)
    orders = data.shuffled_orders(300, seed=0)
    assert orders.min() >= data.edges[0] - 1e-9  # rounding of log and its inverse
    assert orders.max() < data.edges[-1]
    for label in orders:
        for unit in range(4):
            inside = data.category == unit
            shift = np.log1p(label[inside]) - np.log1p(data.labels[inside])
            assert np.ptp(shift) < 1e-9
    kept = [tuple(np.argsort([o[data.category == u].min() for u in range(4)])) for o in orders]
    assert len(set(kept)) == 22  # of 24, all but the true order and its mirror image


@pytest.mark.parametrize("task", TASKS)
def test_the_lookup_table_knows_the_category_and_nothing_else(task):
    data = generate(task, 100, seed=0)
    table = data.one_hot()
    assert table.shape == (100, len(data.categories))
    assert (table.sum(axis=1) == 1).all() and (table.argmax(axis=1) == data.category).all()


def test_a_fingerprint_changes_with_texts_spans_labels_and_groups():
    data = generate("weekday", 30, seed=0)
    fewer = [dataclasses.replace(s, spans=dict(list(s.spans.items())[:-1])) for s in data.samples]
    others = [
        generate("weekday", 30, seed=1),
        data.permuted(0),
        dataclasses.replace(data, samples=fewer),
        dataclasses.replace(data, groups=data.groups + 1),
    ]
    prints = {data.fingerprint(), *(other.fingerprint() for other in others)}
    assert len(prints) == 5
    assert generate("weekday", 30, seed=0).fingerprint() == data.fingerprint()


def test_the_command_line_offers_every_template():
    assert get_args(get_type_hints(Config)["task"]) == TASKS


# --- what is refused -----------------------------------------------------------------------------


def _row(values: np.ndarray, value: float) -> np.ndarray:
    return np.concatenate([values[:-1], [value]])


BAD = {
    "label nan of row 29 is not finite": lambda d: {"labels": _row(d.labels, np.nan)},
    r"label 7.0 of row 29 is not in \[0, 7\)": lambda d: {"labels": _row(d.labels, 7)},
    r"label -1.0 of row 29 is not in \[0, 7\)": lambda d: {"other": _row(d.labels, -1)},
    r"label 0.0 of row \d+ is in none of the categories, from 1.0 to 8.0": lambda d: {
        "edges": d.edges + 1
    },
    r"label 6.0 of row \d+ is in none of the categories, from 0.0 to 5.6": lambda d: {
        "edges": d.edges * 0.8
    },
    "period 0 must be a number above 0, or None": lambda _: {"period": 0},
    "period inf must be a number above 0": lambda _: {"period": np.inf},
    r"edges \[0.0, 1.0\] must be 8 rising numbers, for the 7 categories Mon": lambda d: {
        "edges": d.edges[:2]
    },
    "must be 8 rising numbers": lambda d: {"edges": d.edges[::-1]},
    r"3 categories \(Mon, Tue, Wed\) have no order .* at least 4": lambda d: {
        "categories": d.categories[:3],
        "edges": d.edges[:4],
    },
    r"2 categories .* at least 3": lambda d: {
        "period": None,
        "categories": d.categories[:2],
        "edges": d.edges[:3],
    },
    "labels has 29 entries for 30": lambda d: {"labels": d.labels[1:]},
    "groups has 29 entries for 30": lambda d: {"groups": d.groups[1:]},
    "other has 29 entries for 30": lambda d: {"other": d.labels[1:]},
    "group '0' carries two labels": lambda d: {"groups": d.groups * 0},
    r"'\[date\]' is none of the words \[name\], has": lambda _: {"source": "[date]"},
    "'birthday' is none of the words": lambda _: {"destination": "birthday"},
    r"'\[food\]' is none of the words": lambda _: {"distractor": "[food]"},
    r"before = 7 is not in 0..6, the number of words before '\[weekday\]'": lambda _: {"before": 7},
    "sample 29 has the spans day, not .* as the first": lambda d: {
        "samples": [
            *d.samples[:-1],
            dataclasses.replace(d.samples[-1], spans={"day": (0, 1)}),
        ]
    },
}


@pytest.mark.parametrize("message", BAD)
def test_a_dataset_that_contradicts_itself_is_refused(message):
    data = generate("weekday", 30, seed=0)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(data, **BAD[message](data))


def test_tasks_that_cannot_be_written_are_refused():
    with pytest.raises(ValueError, match="n = 10: fewer than 24"):
        generate("birthday", 10, seed=1)
    with pytest.raises(ValueError, match="task 'season' is none of birthday, weekday"):
        generate("season", 100, seed=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="people = 2 in task 'age'"):
        generate("age", 100, seed=1, people=2)
    with pytest.raises(ValueError, match="people = 3 in task 'birthday'"):
        generate("birthday", 100, seed=1, people=3)


# --- a user's file -------------------------------------------------------------------------------


def _rows(n: int = 28) -> list[dict]:
    """Sentences of a made-up user about weekdays, two to a group."""
    return [
        {
            "text": f"Meeting {i} is on {WEEKDAYS[i // 2 % 7]}; see you that day.",
            "label": i // 2 % 7,
            "group": f"g{i // 2}",
            "period": 7,
            "category": WEEKDAYS[i // 2 % 7][:3],
            "spans": {"weekday": WEEKDAYS[i // 2 % 7], "return": "that"},
        }
        for i in range(n)
    ]


def _jsonl(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _csv(path, rows):
    flat = []
    for row in rows:
        spans = {f"span:{name}": words for name, words in row["spans"].items()}
        flat.append({k: v for k, v in row.items() if k != "spans"} | spans)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    return path


def _without(rows: list[dict], *keys: str) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in keys} for row in rows]


def test_a_users_file_says_the_same_in_both_formats(tmp_path):
    first = from_file(_csv(tmp_path / "mine.csv", _rows()))
    second = from_file(_jsonl(tmp_path / "mine.jsonl", _rows()))
    for field in dataclasses.fields(Dataset):
        one, two = getattr(first, field.name), getattr(second, field.name)
        assert np.array_equal(one, two) if isinstance(one, np.ndarray) else one == two, field.name
    assert first.fingerprint() == second.fingerprint()


def test_a_users_cycle_with_categories(tmp_path):
    data = from_file(_jsonl(tmp_path / "mine.jsonl", _rows()))
    assert (data.task, data.shape, data.period, data.distractor) == ("data", "circular", 7.0, None)
    assert (data.source, data.destination, data.before) == ("weekday", "return", 0)
    assert data.categories == tuple(day[:3] for day in WEEKDAYS)  # by label, not by name
    assert data.category.tolist() == [i // 2 % 7 for i in range(28)] == data.labels.tolist()
    assert data.edges.tolist() == list(range(8))
    assert data.groups.tolist() == [f"g{i // 2}" for i in range(28)]


def test_a_users_line_is_cut_into_parts_of_which_empty_ones_are_joined(tmp_path):
    rows = _without(_rows(30), "period", "category", "group")
    for i, row in enumerate(rows):
        row["label"] = i if i < 20 else 40 + i  # 0..19 and 60..69
    data = from_file(_jsonl(tmp_path / "mine.jsonl", rows))
    assert (data.shape, data.period) == ("linear", None)
    assert data.groups.tolist() == list(range(30))
    # parts of 5.75; those from 23 to 57.5 are empty
    assert data.edges.tolist() == [0, 5.75, 11.5, 17.25, 57.5, 63.25, 69]
    assert data.categories[3] == "17.25 to 57.5" and data.category_noun == "part"
    begin, end = data.edges[data.category], data.edges[data.category + 1]
    assert ((begin <= data.labels) & (data.labels <= end)).all()
    assert len(np.unique(data.category)) == len(data.categories)


def test_a_users_line_of_named_single_values_exchanges_them(tmp_path):
    values = [1, 10, 100, 1000]
    rows = _without(_rows(), "period", "group")
    for i, row in enumerate(rows):
        row |= {"label": values[i % 4], "category": "abcd"[i % 4]}
    data = from_file(_csv(tmp_path / "mine.csv", rows))
    assert data.categories == ("a", "b", "c", "d")
    for label in data.shuffled_orders(50, seed=0):
        assert set(label) == set(values) and len(set(zip(label, data.labels, strict=True))) == 4


def _changed(row: int, **fields) -> list[dict]:
    rows = _rows()
    rows[row] |= fields
    return rows


BAD_FILES = {
    "23 rows; at least 24": _rows(23),
    "label 'soon' of row 3, counting from 0, is no finite number": _changed(3, label="soon"),
    "label 'nan' of row 3, counting from 0, is no finite number": _changed(3, label="nan"),
    "every label is 1.0": [row | {"label": 1} for row in _rows()],
    "periods '7' and '8'": _changed(3, period=8),
    "periods '' and '7'": _changed(3, period=None),
    "period 'week' must be a number above 0": [row | {"period": "week"} for row in _rows()],
    "period '0' must be a number above 0": [row | {"period": 0} for row in _rows()],
    r"label 5.0 of row 10 is not in \[0, 5\)": _without(
        [row | {"period": 5} for row in _rows()], "category"
    ),
    "row 3, counting from 0, has no category": _changed(3, category=""),
    r"categories 'Mon' \(0 to 2\) and 'Tue' \(1 to 1\) interleave": _changed(4, category="Mon"),
    "group 'g0' carries two labels": _changed(1, label=3, category="Thu"),
    r"2 categories \(even, odd\) have no order": [
        row | {"category": "even" if row["label"] < 3 else "odd"} for row in _rows()
    ],
}


@pytest.mark.parametrize("message", BAD_FILES)
def test_a_users_file_that_cannot_be_studied_is_refused(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        from_file(_jsonl(tmp_path / "mine.jsonl", BAD_FILES[message]))
