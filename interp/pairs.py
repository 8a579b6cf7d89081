"""Pairs of texts that say the same in two languages, written down or read from a file.

A row of a file, or an object on a line of its own, is a pair. It has two texts, in columns (keys)
that are called as the languages are, and may have a `category`:

    English,Spanish,category
    I have 3 books,Tengo 3 libros,counting
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from interp.duplicates import normalised

FEWEST = 3
"""Pairs below which nothing can be asked: two pairs have one other order."""

CATEGORY = "category"
"""Name of the column of a file that is no language."""


@dataclass(frozen=True)
class Pairs:
    """Texts in two languages, paired by what they say.

    Raises:
        ValueError: sides or categories of different length, fewer than three pairs, an empty text,
            languages without a name or of one name, texts that are identical in every pair, or a
            category of a single pair, in which nothing can be scrambled.
    """

    languages: tuple[str, str]
    """Names of the languages."""
    texts: tuple[tuple[str, ...], tuple[str, ...]]
    """Texts of the first language and of the second, in the order of the pairs."""
    category: Shaped[np.ndarray, " n"]
    """Name of each pair's category; "all" everywhere where no categories are known."""
    copies: int = 0
    """Pairs of a file that were left out, since they repeat another on both sides."""

    def __post_init__(self) -> None:
        self._check_languages()
        first, second = self.texts
        if not len(first) == len(second) == len(self.category):
            raise ValueError(
                f"{len(first)} texts in {self.languages[0]}, {len(second)} in {self.languages[1]} "
                f"and {len(self.category)} categories; each pair has one of each"
            )
        if len(self) < FEWEST:
            raise ValueError(f"{len(self)} pairs; at least {FEWEST} are needed")
        for language, texts in zip(self.languages, self.texts, strict=True):
            for pair, text in enumerate(texts):
                if not text.strip():
                    raise ValueError(f"pair {pair} has no {language} text: {text!r}")
        if self.identical == len(self):
            raise ValueError(
                f"identical languages: all {len(self)} pairs have the same text in "
                f"{' and '.join(self.languages)}, such as {first[0][:60]!r}"
            )
        self._check_categories()

    def _check_languages(self) -> None:
        first, second = self.languages
        if not first.strip() or not second.strip():
            raise ValueError(f"the languages are called {first!r} and {second!r}; both need a name")
        if first.strip() == second.strip():
            raise ValueError(f"both languages are called {first!r}; they need names of their own")

    def _check_categories(self) -> None:
        for name, size in Counter(self.category.tolist()).items():
            if not str(name).strip():
                raise ValueError(f"a category is called {name!r}; it needs a name")
            if size < 2:
                raise ValueError(
                    f"category {name!r} has {size} pair, which no other text of the category can "
                    "be exchanged with; merge it with another or drop it"
                )

    def __len__(self) -> int:
        return len(self.texts[0])

    @property
    def identical(self) -> int:
        """Number of pairs whose two texts are the same."""
        return sum(first == second for first, second in zip(*self.texts, strict=True))

    @property
    def members(self) -> dict[str, Int[np.ndarray, " _"]]:
        """Numbers of the pairs of each category, categories in the order of their first pairs."""
        names = dict.fromkeys(self.category.tolist())
        return {str(name): np.flatnonzero(self.category == name) for name in names}

    def scrambled(self, seed: int) -> "Pairs":
        """Texts of the second language dealt anew within each category.

        Every order of a category is equally likely, so a text may come back to its partner, as
        under the null that pairing makes no difference.
        """
        rng = np.random.default_rng(seed)
        order = np.arange(len(self))
        for members in self.members.values():
            order[members] = rng.permutation(members)
        first, second = self.texts
        return replace(self, texts=(first, tuple(second[i] for i in order)))

    def fingerprint(self) -> str:
        """SHA-256 over languages, texts and categories, in order."""
        content = (self.languages, self.texts, self.category.tolist())
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def describe(self) -> str:
        """Number of pairs, and the languages."""
        return f"{len(self)} pairs, {' and '.join(self.languages)}"


def read_pairs(path: Path | str) -> Pairs:
    """Pairs of a `.csv`, `.tsv` or `.jsonl` file in UTF-8, as the module describes it.

    A pair that repeats another on both sides is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, another encoding, a row that cannot be read, no rows, other
            than two languages, a row without a text or category, or what `Pairs` refuses; the
            message names the file and, counted from 1 without a header, the row.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": _csv,
        ".tsv": partial(_csv, separator="\t"),
        ".jsonl": _jsonl,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}; valid are {', '.join(readers)}")
    try:
        table = readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it in that encoding") from error
    names = [str(name).strip() for name in table.columns]
    languages = [i for i, name in enumerate(names) if name != CATEGORY]
    if len(languages) != 2 or names.count(CATEGORY) > 1:
        raise ValueError(
            f"{path}: columns {', '.join(map(repr, names)) or 'none'}; valid are two, called as "
            f"the languages are, and {CATEGORY!r} if there are categories{_dropped(names)}"
        )
    if table.empty:
        raise ValueError(f"{path}: no rows; it needs at least {FEWEST} pairs")
    _check_rows(path, table, names)
    first, second = languages
    texts = (tuple(table.iloc[:, first]), tuple(table.iloc[:, second]))
    categories = table.iloc[:, names.index(CATEGORY)] if CATEGORY in names else ["all"] * len(table)
    try:
        return _distinct(Pairs((names[first], names[second]), texts, np.array(list(categories))))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _csv(path: Path, separator: str = ",") -> pd.DataFrame:
    """Columns as the first row names them. It is read like any other: pandas renames headers that
    occur twice, and shifts columns under a header that is too short."""
    try:
        rows = pd.read_csv(
            path,
            header=None,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            sep=separator,
        )
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except pd.errors.ParserError as error:
        raise ValueError(f"{path}: no CSV: {error}") from error
    return rows.iloc[1:].set_axis(rows.iloc[0].tolist(), axis=1)


def _dropped(names: list[str]) -> str:
    """What to do about columns that are too many or separated by something else."""
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        return "; columns are separated by commas (.csv) or tabs (.tsv)"
    languages = [name for name in names if name != CATEGORY]
    if len(languages) > 2:
        several = ", ".join(map(repr, languages[2:]))
        return f": keep two of {len(languages)}, that is, drop such as {several} or an id"
    return ""


def _distinct(pairs: Pairs) -> Pairs:
    """The first of pairs that are equal on both sides but for case and white space, since copies
    agree by themselves and pass for witnesses of one another."""
    both = ["\n".join(map(normalised, pair)) for pair in zip(*pairs.texts, strict=True)]
    rows = np.sort(np.unique(both, return_index=True)[1])
    if len(rows) == len(pairs):
        return pairs
    first, second = (tuple(side[row] for row in rows) for side in pairs.texts)
    return Pairs(
        pairs.languages, (first, second), pairs.category[rows], copies=len(pairs) - len(rows)
    )


def _jsonl(path: Path) -> pd.DataFrame:
    rows = []
    with path.open(encoding="utf-8-sig") as file:  # a mark from an editor is no character
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            here = f"{path}, line {number}"
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"{here}: no JSON: {error}: {line[:60]!r}") from error
            if not isinstance(rows[-1], dict):
                raise ValueError(f"{here}: {line[:60]!r} is no object of two texts")
    return pd.DataFrame(rows)


def _check_rows(path: Path, table: pd.DataFrame, names: list[str]) -> None:
    for row, values in enumerate(table.itertuples(index=False, name=None), start=1):
        here = f"{path}, row {row}"
        for name, value in zip(names, values, strict=True):
            # what a row lacks pandas fills with a NaN
            if value is None or value != value or (isinstance(value, str) and not value.strip()):
                pairs = zip(names, values, strict=True)
                others = ", ".join(f"{n} {v!r}" for n, v in pairs if n != name)
                raise ValueError(f"{here}: unpaired, its {name} is missing beside {others[:120]}")
            if not isinstance(value, str):
                raise ValueError(f"{here}: {name} is {value!r}; texts and categories are strings")
