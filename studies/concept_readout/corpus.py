"""Texts that show a concept, and texts that do not, from two directories of plain files.

    stories/<concept>.txt             a story that shows the concept
    paired/<scenario>/<concept>.txt   one situation, told as somebody to whom the concept applies
    paired/<scenario>/baseline.txt    the same situation, told plainly

1. Every file is one text in UTF-8, without the white space around it; empty files are left out.
2. Files with the same text are one row: it is a positive of each of their concepts, and so a
   negative of none of them.
3. Concepts with too few positives are left out, with the texts that show no other concept.

The rows say what was read: nothing is left out without a line in `skipped` or `notes`. What can be
refused before hours are spent is refused here: texts, blocks, the directory of the export.
"""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from interp.readout import check_export, file_stem

BASELINE = "baseline"
"""Name of a scenario's neutral text, which no concept can have, whatever the case."""

NEARLY = 0.85
"""From this share of common letters on two names are pointed out: `joy` and `joys` have .857."""

SHIPPED = Path(__file__).with_name("corpus")
"""The study's own synthetic texts: its directories `stories` and `paired`."""


@dataclass(frozen=True)
class Corpus:
    """Texts and the concepts that they show."""

    concepts: tuple[str, ...]
    """Names, sorted."""
    names: tuple[str, ...]
    """Where each text comes from, such as `paired/exam/anger`; several files that hold the same
    text are joined by ` = `."""
    texts: tuple[str, ...]
    """The texts, sorted by name; no two are equal."""
    positive: Bool[np.ndarray, "concepts texts"]
    """Which texts show a concept; all others are its negatives."""
    scenario: Shaped[np.ndarray, " texts"]
    """Scenario of each text, which held-out tests never split. A story is a scenario of its own,
    called `stories/<concept>`; a text of several files belongs to the first."""
    skipped: tuple[str, ...]
    """Files and concepts that were left out, and why."""
    notes: tuple[str, ...]
    """What was read otherwise than one file, one text, or is missing beside it."""

    @property
    def n_baselines(self) -> int:
        """Number of texts that show no concept."""
        return int((~self.positive.any(axis=0)).sum())

    @property
    def notices(self) -> tuple[str, ...]:
        """What was left out or read otherwise, and what these texts cannot show."""
        notices = [*self.skipped, *self.notes]
        if self.n_baselines == 0:
            notices.append("no baselines: a concept's only negatives are the other concepts' texts")
        n_scenarios = len(np.unique(self.scenario))
        if n_scenarios < 3:
            notices.append(f"{n_scenarios} scenarios: holding one out needs at least 3")
        first: dict[bytes, str] = {}
        for concept, positive in zip(self.concepts, self.positive, strict=True):
            other = first.setdefault(positive.tobytes(), concept)
            if other != concept:
                notices.append(
                    f"{concept!r} and {other!r} have the same positives: one vector twice"
                )
        return tuple(notices)

    def fingerprint(self) -> str:
        """SHA-256 over concepts, texts, positives and scenarios, in order."""
        content = (self.concepts, self.texts, self.positive.tolist(), self.scenario.tolist())
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def describe(self) -> str:
        """The numbers of concepts and texts."""
        return f"{len(self.concepts)} concepts, {len(self.texts)} texts"


@dataclass(frozen=True)
class _File:
    name: str
    """Such as `paired/exam/anger`."""
    scenario: str
    concept: str | None
    """None for a baseline."""
    text: str


def texts(config: Any) -> Corpus:
    """The corpus that the options describe, checked; its notices go to stderr.

    Raises:
        ValueError: as `read_corpus`, `check` and `interp.readout.check_export`.
    """
    if config.stories_dir is None and config.paired_dir is None:
        corpus = shipped()
    else:
        corpus = read_corpus(config.stories_dir, config.paired_dir, minimum=config.min_positives)
    check(corpus, config.target_layers)
    if config.output is not None:
        for name in config.model:
            check_export(config.folder(name, Path()), overwrite=config.overwrite)
    print(*corpus.notices, sep="\n", file=sys.stderr)
    return corpus


def check(corpus: Corpus, targets: Sequence[int] = ()) -> None:
    """Check what needs no model: texts, and the blocks `targets`.

    Raises:
        ValueError: fewer than two concepts, a concept without negatives or with a name that no
            file can have, or a negative block.
    """
    if len(corpus.concepts) < 2:
        raise ValueError(f"{list(corpus.concepts)} is too few concepts; at least 2 are told apart")
    for concept, positive in zip(corpus.concepts, corpus.positive, strict=True):
        file_stem(concept)  # refuses what is too long to be a file's name
        if positive.all():
            raise ValueError(f"concept {concept!r} is shown by all texts; it needs negatives")
    for block in targets:
        if block < 0:
            raise ValueError(f"target block {block} is negative; blocks count from 0")


def shipped() -> Corpus:
    """The study's own synthetic texts: 12 concepts in 8 scenarios, and a story of each."""
    return read_corpus(SHIPPED / "stories", SHIPPED / "paired")


def read_corpus(stories: Path | None, paired: Path | None, *, minimum: int = 1) -> Corpus:
    """Read stories, framings of scenarios, or both; a concept may be in one of them only.

    Hidden files are ignored, and what else is no `.txt` file is listed in `skipped`. A concept
    with fewer than `minimum` positives, equal texts counted once, is left out.

    Raises:
        ValueError: neither directory is given, one is missing, no directory or without texts, a
            file is no UTF-8, a story is called baseline, two concepts' names differ only by case
            or spaces, a baseline equals a text of a concept, or no concept is left.
    """
    if minimum < 1:
        raise ValueError(f"minimum = {minimum}; a concept needs at least 1 positive text")
    if stories is None and paired is None:
        raise ValueError("there is nothing to read; give a directory of stories, of pairs, or both")
    skipped: list[str] = []
    files: list[_File] = []
    if paired is not None:
        files += _paired(paired, skipped)
    if stories is not None:
        files += _stories(stories, skipped)
    counts = _counts(files)
    concepts = sorted(concept for concept, n in counts.items() if n >= minimum)
    if not concepts:
        few = ", ".join(f"{concept} {n}" for concept, n in counts.items()) or "no concepts"
        raise ValueError(f"no concept has the {minimum} positive texts it needs; found: {few}")
    skipped += [
        f"concept {concept!r}: {n} of at least {minimum} positive texts; "
        "left out, with its texts that show no other concept"
        for concept, n in counts.items()
        if n < minimum
    ]
    return _corpus([f for f in files if f.text], concepts, tuple(skipped))


def _paired(directory: Path, skipped: list[str]) -> list[_File]:
    scenarios, others = _entries(directory, "paired", want_directories=True)
    skipped += [f"{_shown('paired', path)}: no directory of a scenario" for path in others]
    files = []
    for scenario in scenarios:
        label = f"paired/{scenario.name}"
        paths, others = _entries(scenario, label)
        skipped += [f"{_shown(label, path)}: no .txt file" for path in others]
        if not paths:
            skipped.append(f"{label}: no .txt files")
        for path in paths:
            concept = None if path.stem.casefold() == BASELINE else path.stem
            files.append(_file(path, label, scenario.name, concept, skipped))
    if not files:
        raise ValueError(f"{directory}: no <scenario>/<concept>.txt files in it")
    return files


def _stories(directory: Path, skipped: list[str]) -> list[_File]:
    paths, others = _entries(directory, "stories")
    skipped += [f"{_shown('stories', path)}: no .txt file" for path in others]
    if not paths:
        raise ValueError(f"{directory}: no <concept>.txt files in it")
    for path in paths:
        if path.stem.casefold() == BASELINE:
            raise ValueError(
                f"{path}: {BASELINE!r} is no concept's name; a neutral text stands in "
                f"paired/<scenario>/{BASELINE}.txt"
            )
    # a slash, which no directory's name has, keeps a story apart from a scenario of that name
    return [_file(path, "stories", f"stories/{path.stem}", path.stem, skipped) for path in paths]


def _entries(
    directory: Path, label: str, *, want_directories: bool = False
) -> tuple[list[Path], list[Path]]:
    """What a directory holds of the wanted kind, and what else, by name."""
    if not directory.exists():
        raise ValueError(f"{label}: there is no directory {directory}")
    if not directory.is_dir():
        raise ValueError(f"{label}: {directory} is no directory")
    wanted, others = [], []
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):  # what systems leave behind, such as ._joy.txt
            continue
        is_text = path.is_file() and path.suffix.lower() == ".txt"
        (wanted if (path.is_dir() if want_directories else is_text) else others).append(path)
    return wanted, others


def _shown(label: str, path: Path) -> str:
    return f"{label}/{path.name}"


def _file(path: Path, label: str, scenario: str, concept: str | None, skipped: list[str]) -> _File:
    try:
        text = path.read_text(encoding="utf-8-sig").strip()  # some editors open a file with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it in that encoding") from error
    if not text:
        skipped.append(f"{_shown(label, path)}: empty")
    return _File(f"{label}/{path.stem}", scenario, concept, text)


def _counts(files: Iterable[_File]) -> dict[str, int]:
    """Number of different texts of each concept, 0 for one whose files are all empty."""
    texts: dict[str, set[str]] = {}
    plain: dict[str, str] = {}
    for file in files:
        if file.concept is None:
            continue
        other = plain.setdefault("".join(file.concept.split()).casefold(), file.concept)
        if other != file.concept:
            raise ValueError(
                f"{file.name}: concept {file.concept!r} differs from {other!r} only by case or "
                "spaces; write one concept in one way"
            )
        texts.setdefault(file.concept, set()).update({file.text} - {""})
    return {concept: len(different) for concept, different in sorted(texts.items())}


def _corpus(files: Sequence[_File], concepts: list[str], skipped: tuple[str, ...]) -> Corpus:
    notes = [*_without_baseline(files), *_nearly_alike(files)]
    groups: dict[str, list[_File]] = {}
    for file in files:
        groups.setdefault(file.text, []).append(file)
    rows: list[tuple[str, str, str, set[str | None]]] = []
    for text, same in groups.items():
        name, shown = " = ".join(f.name for f in same), {f.concept for f in same}
        if None in shown and len(shown) > 1:
            raise ValueError(f"a baseline says the same as a text of a concept: {name}")
        if len(same) > 1:
            notes.append(f"the same text, read once as one of scenario {same[0].scenario}: {name}")
        if None in shown or shown & set(concepts):
            rows.append((name, text, same[0].scenario, shown))
    return Corpus(
        concepts=tuple(concepts),
        names=tuple(row[0] for row in rows),
        texts=tuple(row[1] for row in rows),
        positive=np.array([[concept in row[3] for row in rows] for concept in concepts]),
        scenario=np.array([row[2] for row in rows]),
        skipped=skipped,
        notes=tuple(notes),
    )


def _without_baseline(files: Sequence[_File]) -> list[str]:
    scenarios = {f.scenario: f.name for f in files if f.name.startswith("paired/")}
    complete = {f.scenario for f in files if f.concept is None}
    return [f"scenario {name!r} has no baseline" for name in scenarios if name not in complete]


def _nearly_alike(files: Sequence[_File]) -> list[str]:
    """Anger and danger are two concepts, joy and joys are more likely one: both are pointed out."""
    concepts = sorted({file.concept for file in files if file.concept is not None})
    return [
        f"concepts {first!r} and {second!r} are spelled nearly alike and are read as two: if a "
        "file is misnamed, rename it"
        for first, second in combinations(concepts, 2)
        if SequenceMatcher(None, first.casefold(), second.casefold()).ratio() >= NEARLY
    ]
