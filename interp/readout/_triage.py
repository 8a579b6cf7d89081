"""Which concepts' vectors need a second look: one class for each, and whether it is redundant.

In this order, the first that holds:

1. contaminated: the nearest other concept's cosine is above .8;
2. single-neuron: the positives' first component holds more than .7 of their variance and one MLP
   neuron lies within |cosine| .6 of the vector;
3. low-dimensional: the first component holds more than .7;
4. fragmented: the mean alignment is below .4;
5. unremarkable.

Redundant, that the other concepts' vectors explain more than .9 of it, is judged beside these.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from interp.readout._contrast import OK
from interp.readout._quality import BlockQuality, ConceptQuality

Class = Literal[
    "contaminated", "single-neuron", "low-dimensional", "fragmented", "unremarkable", "untestable"
]

NEAREST, FIRST_COMPONENT, NEURON, ALIGNMENT, R2 = 0.8, 0.7, 0.6, 0.4, 0.9
"""Limits of the rules above."""
NAMED = 5
"""Concepts that are named in each class."""


@dataclass(frozen=True)
class Triage:
    """Every concept's class at one block, usually the middle one."""

    block: int
    """Block that was judged."""
    concepts: tuple[str, ...]
    """Names."""
    classes: tuple[Class, ...]
    """Class of each; `untestable` where there is no vector, or fewer than three positives that are
    not contaminated."""
    redundant: tuple[bool | None, ...]
    """Whether the others explain it; None where there is no vector, and where unrelated texts of
    this design would be redundant too."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: count and up to five names of each class, of the redundant, and of those
        whose redundancy could not be tested."""
        groups = {name: [c == name for c in self.classes] for name in get_args(Class)}
        groups["redundant"] = [flag is True for flag in self.redundant]
        groups["redundancy untestable"] = [flag is None for flag in self.redundant]
        return {"block": self.block} | {
            name: {"count": sum(members), "names": self._named(members)}
            for name, members in groups.items()
        }

    def table(self) -> pd.DataFrame:
        """A row for every class, the redundant and the untestable: the number of concepts, and up
        to five names."""
        groups = {name: group for name, group in self.as_dict().items() if name != "block"}
        return pd.DataFrame(
            [
                {"class": name, "concepts": group["count"], "such as": ", ".join(group["names"])}
                for name, group in groups.items()
            ]
        )

    def _named(self, members: list[bool]) -> list[str]:
        return [name for name, inside in zip(self.concepts, members, strict=True) if inside][:NAMED]


def triage(quality: BlockQuality) -> Triage:
    """Class and redundancy of every concept by the rules above."""
    return Triage(
        block=quality.block,
        concepts=tuple(one.concept for one in quality.concepts),
        classes=tuple(_class_of(one) for one in quality.concepts),
        redundant=tuple(_redundant(one) for one in quality.concepts),
    )


def _class_of(one: ConceptQuality) -> Class:
    if one.status != OK:
        return "untestable"
    if one.nearest and one.nearest[0][1] > NEAREST:
        return "contaminated"
    if np.isnan(one.first_component):
        return "untestable"
    if one.first_component > FIRST_COMPONENT:
        written = one.neurons is not None and abs(one.neurons[0][1]) > NEURON
        return "single-neuron" if written else "low-dimensional"
    return "fragmented" if one.alignment.mean < ALIGNMENT else "unremarkable"


def _redundant(one: ConceptQuality) -> bool | None:
    if one.status != OK:
        return None
    if one.regression is None:
        return False
    return None if one.regression.r2_unrelated > R2 else one.regression.r2 > R2
