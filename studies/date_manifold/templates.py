"""One template for each quantity.

A template states a quantity once, goes on with a sentence about the same person that has nothing
to do with it, and returns to the quantity at the end. Every word is a named span, so each can be
asked whether it carries the quantity: the words before it is stated cannot, and the unrelated
words should not.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import regex
from jaxtyping import Float, Int

from interp.positions import LETTER, Sample

Task = Literal["birthday", "weekday", "hour", "duration", "age"]
"""Quantities that have a template."""

TASKS: tuple[Task, ...] = get_args(Task)
"""All of them."""

PEOPLE = {
    "Alice": ("She", "she", "her"),
    "Carol": ("She", "she", "her"),
    "Emma": ("She", "she", "her"),
    "Bob": ("He", "he", "his"),
    "David": ("He", "he", "his"),
    "Frank": ("He", "he", "his"),
}
CHOICES = {
    "sport": ("tennis", "chess", "golf", "soccer", "hockey", "rugby"),
    "color": ("blue", "green", "red", "yellow", "purple", "orange"),
    "city": ("London", "Paris", "Rome", "Berlin", "Madrid", "Oslo"),
}
FILLINGS = len(PEOPLE) * int(np.prod([len(values) for values in CHOICES.values()]))
"""Distinct sentences about one label."""

MONTHS = tuple(str(pd.Timestamp(2023, month, 1).month_name()) for month in range(1, 13))
DAYS_IN_MONTH = np.array([pd.Timestamp(2023, month, 1).days_in_month for month in range(1, 13)])
FIRST_DAY = np.concatenate([[0], np.cumsum(DAYS_IN_MONTH)[:-1]])
"""Day of the year on which each month begins, counting from 0."""
WEEKDAYS = tuple(str(pd.Timestamp(2024, 1, day).day_name()) for day in range(1, 8))
"""From Monday, as 2024 began."""
UNITS = (("day", 1, 2, 6), ("week", 7, 1, 4), ("month", 30, 2, 11), ("year", 365, 1, 9))
"""Units of time: singular, days, fewest and most that are written; their ranges do not meet."""

BIRTH = "{name} was born on the {day} of {month}."
UNRELATED = "{She} plays {sport} with friends, loves the color {color}, and lives in {city}."
PARTY = "Every year, {she} invites everyone to a big party on {her} birthday."


@dataclass(frozen=True)
class Template:
    """A quantity, its sentences and its axis."""

    text: str
    quantity: str
    unit: str
    values: Int[np.ndarray, " values"]
    """Every label that can be written."""
    slots: Callable[[int], dict[str, str]]
    """The slots that state a label."""
    period: float | None
    shape: str
    categories: tuple[str, ...]
    category_noun: str
    edges: Float[np.ndarray, " edges"]
    source: str
    destination: str
    by_sentence: bool = False
    """The exchangeable unit is the sentence, of which then none may occur twice, and not the label,
    of which there are too few to hold some out."""


def person(name: str) -> dict[str, str]:
    """Slots of a name and its pronouns."""
    return dict(zip(("She", "she", "her"), PEOPLE[name], strict=True)) | {"name": name}


def choices(rng: np.random.Generator) -> dict[str, str]:
    """Slots of the unrelated sentence, drawn evenly."""
    return {slot: str(rng.choice(values)) for slot, values in CHOICES.items()}


def _words(text: str) -> Iterator[tuple[str, str, str]]:
    """(name, word, punctuation after it) of a template; a repeated word gets a number."""
    seen: dict[str, int] = {}
    for chunk in text.split(" "):
        match = regex.fullmatch(rf"(\{{\w+\}}|{LETTER}+)((?:(?!{LETTER}).)*)", chunk)
        assert match is not None, chunk
        word, mark = match.groups()
        name = f"[{word[1:-1]}]" if word.startswith("{") else word
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} {seen[name]}"), word, mark


def filled(text: str, slots: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(name, word as written, punctuation after it) of a template; slots have names in brackets."""
    return [(name, word.format_map(slots), mark) for name, word, mark in _words(text)]


def written(words: list[tuple[str, str, str]]) -> Sample:
    """The text of such words, with a span for each."""
    text, spans = "", {}
    for name, word, mark in words:
        text += " " if text else ""
        spans[name] = (len(text), len(text) + len(word))
        text += word + mark
    return Sample(text, spans)


def words_before(template: Template) -> int:
    """Number of words before the first that states anything of the label."""
    stating = {f"[{slot}]" for slot in template.slots(int(template.values[0]))}
    return next(i for i, (name, _, _) in enumerate(_words(template.text)) if name in stating)


def date(day: int) -> dict[str, str]:
    """Slots of a day of the year, counting from 0."""
    month = int(np.searchsorted(FIRST_DAY, day, side="right") - 1)
    return {"day": _ordinal(day - int(FIRST_DAY[month]) + 1), "month": MONTHS[month]}


def _ordinal(number: int) -> str:
    if number in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _hour(hour: int) -> dict[str, str]:
    return {"hour": str((hour - 1) % 12 + 1), "half": "am" if hour < 12 else "pm"}


def _duration(days: int) -> dict[str, str]:
    unit, length, _, _ = next(u for u in reversed(UNITS) if days >= u[1] * u[2])
    number = days // length
    return {"number": str(number), "unit": unit if number == 1 else f"{unit}s"}


TEMPLATES: Mapping[Task, Template] = {
    "birthday": Template(
        text=f"{BIRTH} {UNRELATED} {PARTY}",
        quantity="date",
        unit="days",
        values=np.arange(365),
        slots=date,
        period=365.0,
        shape="circular",
        categories=tuple(month[:3] for month in MONTHS),
        category_noun="month",
        edges=np.append(FIRST_DAY, 365.0),
        source="[month]",
        destination="birthday",
    ),
    "weekday": Template(
        text=f"{{name}} has a dentist appointment on {{weekday}}. {UNRELATED} On the morning of "
        "that day, {she} drives to the clinic.",
        quantity="weekday",
        unit="days",
        values=np.arange(7),
        slots=lambda day: {"weekday": WEEKDAYS[day]},
        period=7.0,
        shape="circular",
        categories=tuple(day[:3] for day in WEEKDAYS),
        category_noun="weekday",
        edges=np.arange(8.0),
        source="[weekday]",
        destination="day",
        by_sentence=True,
    ),
    "hour": Template(
        text=f"{{name}} catches the train at {{hour}} {{half}}. {UNRELATED} {{She}} arrives at the "
        "station just before that time.",
        quantity="hour",
        unit="hours",
        values=np.arange(24),
        slots=_hour,
        period=24.0,
        shape="circular",
        categories=tuple(" ".join(_hour(hour).values()) for hour in range(24)),
        category_noun="hour",
        edges=np.arange(25.0),
        source="[half]",
        destination="time",
        by_sentence=True,
    ),
    "duration": Template(
        text=f"{{name}} worked abroad for {{number}} {{unit}}. {UNRELATED} {{She}} tells everyone "
        "about that stay.",
        quantity="duration",
        unit="days",
        values=np.array(
            [length * k for _, length, low, high in UNITS for k in range(low, high + 1)]
        ),
        slots=_duration,
        period=None,
        shape="log_linear",
        categories=tuple(f"{unit}s" for unit, _, _, _ in UNITS),
        category_noun="unit",
        edges=np.array([float(length * low) for _, length, low, _ in UNITS] + [3650.0]),
        source="[unit]",
        destination="stay",
    ),
    "age": Template(
        text=f"{{name}} turned {{age}} this year. {UNRELATED} Nobody at the club knows {{her}} "
        "age.",
        quantity="age",
        unit="years",
        values=np.arange(1, 100),
        slots=lambda age: {"age": str(age)},
        period=None,
        shape="linear",
        categories=("1-9", *(f"{decade}s" for decade in range(10, 100, 10))),
        category_noun="decade",
        edges=np.array([1.0, *range(10, 101, 10)]),
        source="[age]",
        destination="age",
    ),
}
"""How each quantity is written."""
