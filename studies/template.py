"""Is the number of a subject kept until its verb?"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from interp import claims, probes, study
from interp.positions import Sample, find
from interp.texts import Texts

NOUNS = ("key", "letter", "picture", "ticket", "toy", "cup", "book", "coin")
PLACES = ("near the door", "by the old window", "under the table", "behind the house")


@dataclass(frozen=True, kw_only=True)
class Config(study.Config):
    """Singular and plural subjects, probed at the word before the verb."""

    folds: int = 4
    """Folds of whole nouns."""
    permutations: int = 200
    """Permutations of number; no p value falls below 1 / (permutations + 1)."""


def texts(_: Config) -> Texts:
    """Each noun in both numbers, before each place; folds never split a noun."""
    cases = list(product(NOUNS, PLACES, (0, 1)))
    samples = []
    for noun, place, plural in cases:
        text = f"Everybody knew that the {noun}{'s' * plural} {place} once"
        samples.append(Sample(text, {"before the verb": find(text, "once")}))
    nouns = np.array([NOUNS.index(noun) for noun, _, _ in cases])
    return Texts(samples=samples, labels=np.array([plural for *_, plural in cases]), groups=nouns)


@study.asks("before the verb")
def kept(subject: study.Subject, texts: Texts) -> study.Part:
    """Is the number of a subject kept until its verb?"""
    units = 2 * texts.groups + texts.labels  # a noun in one number is exchanged as a whole
    cells = subject.cells("before the verb")
    probe = probes.Probe(n_boot=0)
    grid = probes.probe_grid(cells, units=units, probe=probe, **texts.design, **subject.options)
    best = grid.best()
    finding = claims.survives(
        "Is the number of a subject kept until its verb?",
        "The word before the verb tells whether the subject is plural.",
        grid.test,
        cell=best,
        rival="number exchanged within nouns",
        exchange="noun in one number",
        unit=f"balanced accuracy on nouns left out, at {grid.blocks[best[0]]}",
        primary=True,
    )
    return study.Part(claims=[finding], figures=[grid.plot()], tables={"cells": grid.table()})


if __name__ == "__main__":
    study.main(Config, texts, [kept])
