"""Sentences that state a birthday once and return to it at the end.

One template: a name and a date, then sentences about the same person that have nothing to do with
the date, and a party on the birthday. Every word is a named span, so each can be asked whether it
carries the date. The words before the date cannot, and the unrelated words should not.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from interp.positions import Sample
from interp.stats import permute_groups

PERIOD = 365
"""Length of the label's cycle in days."""

TEMPLATE = (
    "{name} was born on the {day} of {month}. {She} plays {sport} with friends, loves the "
    "color {color}, and lives in {city}. Every year, {she} invites everyone to a big party on "
    "{her} birthday."
)
SOURCE, DESTINATION, DISTRACTOR = "[month]", "birthday", "[sport]"
"""The words that state the date, return to it, and have nothing to do with it."""

PEOPLE = {
    "Alice": ("She", "she", "her"),
    "Carol": ("She", "she", "her"),
    "Emma": ("She", "she", "her"),
    "Bob": ("He", "he", "his"),
    "David": ("He", "he", "his"),
    "Frank": ("He", "he", "his"),
}
SPORTS = ("tennis", "chess", "golf", "soccer", "hockey", "rugby")
COLORS = ("blue", "green", "red", "yellow", "purple", "orange")
CITIES = ("London", "Paris", "Rome", "Berlin", "Madrid", "Oslo")

MONTHS = tuple(pd.Timestamp(2023, month, 1).month_name() for month in range(1, 13))
DAYS_IN_MONTH = np.array([pd.Timestamp(2023, month, 1).days_in_month for month in range(1, 13)])
FIRST_DAY = np.concatenate([[0], np.cumsum(DAYS_IN_MONTH)[:-1]])
"""Day of the year on which each month begins, counting from 0."""


@dataclass(frozen=True)
class Dates:
    """The sentences and what is known of each."""

    samples: list[Sample]
    """Sentences with a span for every word."""
    day: Int[np.ndarray, " n"]
    """Day of the year, 0 to 364: the label, and the group that folds never split."""
    month: Int[np.ndarray, " n"]
    """Month, 0 to 11."""

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the words, in the order of the sentence; slots stand in brackets."""
        return tuple(self.samples[0].spans)

    @property
    def label(self) -> Float[np.ndarray, " n"]:
        """The day as the methods take it."""
        return self.day.astype(np.float64)

    def permuted(self, seed: int) -> "Dates":
        """The same sentences under dates permuted among them, all of one date moving together."""
        rng = np.random.default_rng([seed, 1])  # not the permutations that the null is made of
        day = permute_groups(self.day, self.day, 1, rng)[0]
        return Dates(self.samples, day, _month_of(day))

    def fingerprint(self) -> str:
        """SHA-256 of texts and labels."""
        rows = zip((sample.text for sample in self.samples), self.day.tolist(), strict=True)
        return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()


def generate(n: int, *, seed: int) -> Dates:
    """n sentences. Dates come in rounds of all 365, each in random order, so that they are as
    even as n allows; the other slots are drawn independently of the date.

    Raises:
        ValueError: fewer than 24 sentences, of which some month would have none.
    """
    if n < 24:
        raise ValueError(f"n = {n}: fewer than 24 sentences cannot cover the twelve months")
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(PERIOD) for _ in range(-(-n // PERIOD))]
    day = np.concatenate(rounds)[:n]
    month = _month_of(day)
    samples = []
    for day_of_year, m in zip(day, month, strict=True):
        name = str(rng.choice(list(PEOPLE)))
        slots = dict(zip(("She", "she", "her"), PEOPLE[name], strict=True))
        slots |= {"name": name, "day": _ordinal(day_of_year - FIRST_DAY[m] + 1), "month": MONTHS[m]}
        choices = {"sport": SPORTS, "color": COLORS, "city": CITIES}
        slots |= {slot: str(rng.choice(values)) for slot, values in choices.items()}
        samples.append(_fill(slots))
    return Dates(samples, day, month)


def _month_of(day: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    return np.asarray(np.searchsorted(FIRST_DAY, day, side="right") - 1)


def _ordinal(number: int) -> str:
    if number in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _fill(slots: dict[str, str]) -> Sample:
    text, spans = "", {}
    for name, word, mark in _words():
        filled = slots[name.strip("[]")] if name.startswith("[") else word
        text += " " if text else ""
        spans[name] = (len(text), len(text) + len(filled))
        text += filled + mark
    return Sample(text, spans)


def _words() -> Iterator[tuple[str, str, str]]:
    """(name, word, punctuation after it) of the template; a repeated word gets a number."""
    seen: dict[str, int] = {}
    for chunk in TEMPLATE.split(" "):
        match = re.fullmatch(r"(\{\w+\}|\w+)(\W*)", chunk)
        assert match is not None, chunk
        word, mark = match.groups()
        name = f"[{word[1:-1]}]" if word.startswith("{") else word
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} {seen[name]}"), word, mark


def shuffled_month_orders(
    dates: Dates, n_orders: int, *, seed: int
) -> Float[np.ndarray, "orders n"]:
    """The label with the order of the months shuffled and the days within a month kept.

    A representation that merely looks months up fits any order as well as the calendar's.
    """
    rng = np.random.default_rng(seed)
    labels = []
    for order in (rng.permutation(12) for _ in range(n_orders)):
        first = np.empty(12, dtype=np.int64)
        first[order] = np.concatenate([[0], np.cumsum(DAYS_IN_MONTH[order])[:-1]])
        labels.append(first[dates.month] + dates.day - FIRST_DAY[dates.month])
    return np.array(labels, dtype=np.float64)


def one_hot_months(dates: Dates) -> Float[np.ndarray, "n month"]:
    """The lookup table itself, as features: the baseline that knows months but no circle."""
    return np.eye(12)[dates.month]


def month_names(dates: Dates) -> Shaped[np.ndarray, " n"]:
    """Short month names, one a sentence."""
    return np.array([MONTHS[month][:3] for month in dates.month])
