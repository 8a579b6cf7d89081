"""Experiment 2: do two words hold the label along the same directions?

At one depth the pattern of every word (how its activations move with the ideal coordinates) is
compared with that of every other by principal angles, corrected by how well each pattern agrees
with itself on independent halves of the data.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.claims import Claim, finding
from interp.plots import heatmap
from interp.report import Figure, Section
from interp.smds import SubspaceSimilarity, subspace_similarity
from studies.date_manifold.data import Dataset
from studies.date_manifold.scoring import ALPHA, Layout, Part, Settings, exchanged, geometry


def investigate(
    layout: Layout, cells: Float[np.ndarray, "word n d"], data: Dataset, settings: Settings
) -> Part:
    """Experiment 2 on the words of one depth."""
    found = subspace_similarity(
        cells,
        data.label,
        groups=data.group,
        shape=geometry(data),
        period=data.period,
        alpha=settings.alpha,
        standardise=settings.in_geometry,
        n_permutations=settings.n_permutations,
        seed=settings.seed,
    )
    pair = (data.words.index(data.source), data.words.index(data.destination))
    name = f"same plane, {data.source} and {data.destination}"
    return Part(
        [_claim(layout, found, pair, data, settings)],
        [
            Section(
                f"{layout.model}: do words share a plane?",
                _figures(layout, found, pair, data, settings),
            )
        ],  # fmt: skip # noqa: E501
        {name: found.corrected[pair], f"{name}: p": found.p_family[pair]},
        {"planes": _table(layout, found)},
    )


def _claim(
    layout: Layout,
    found: SubspaceSimilarity,
    pair: tuple[int, int],
    data: Dataset,
    settings: Settings,
) -> Claim:
    reliable = pair[0] != pair[1] and all(found.status[word] == "ok" for word in pair)
    controls = {
        "without correction": found.similarity[pair],
        "|cosine| of the decoders' weights": found.weight_cosine[pair],
    }
    if data.distractor is not None:
        other = (pair[0], data.words.index(data.distractor))
        controls |= {f"{data.source} and {data.distractor}, corrected": found.corrected[other]}
    return finding(
        "Is it one representation?",
        f"{data.source} and {data.destination} hold the {data.quantity} along shared directions.",
        subject=layout.model,
        estimate=found.corrected[pair] if reliable else None,
        unit="similarity of planes, corrected for their reliability, at "
        f"{layout.rows[layout.at(settings.depth)]}",
        null="labels permuted at the later word, max-T over all pairs of words",
        exchange=exchanged(data),
        controls=controls,
        tests={"permuted labels": (found.p_family[pair], 1 / (settings.n_permutations + 1))}
        if reliable
        else {},
        needs=""
        if reliable
        else "patterns of both words that agree with themselves on halves of the data",
    )


def _figures(
    layout: Layout,
    found: SubspaceSimilarity,
    pair: tuple[int, int],
    data: Dataset,
    settings: Settings,
) -> list[Figure]:
    depth = layout.rows[layout.at(settings.depth)]
    status = np.array(
        [[_why(found.status[i], found.status[j], i == j) for j in range(len(data.words))]
         for i in range(len(data.words))]
    )  # fmt: skip
    common = {
        "row_labels": data.words,
        "column_labels": data.words,
        "status": status,
        "boxed": (pair, pair[::-1]),
    }
    between = f"{data.source} and {data.destination}"
    return [
        Figure(
            heatmap(
                found.corrected,
                title=f"Shared plane of the {data.quantity} at {depth}",
                colour_label="similarity, corrected",
                zmin=0,
                zmax=1,
                survivors=(found.p_family <= ALPHA) & np.isfinite(found.corrected),
                survivors_label="above permuted labels, max-T at 5 %",
                **common,
            ),
            f"1 means that two words hold the {data.quantity} in one plane, 0 in planes at right "
            f"angles; {between} stand in frames, {_number(found.corrected[pair])}. Crossed words "
            "carry no pattern that agrees with itself, and a word is not compared with itself.",
        ),
        Figure(
            heatmap(
                found.weight_cosine,
                title=f"For comparison: |cosine| of the decoders' weights at {depth}",
                colour_label="|cosine|",
                zmin=0,
                zmax=1,
                **common,
            ),
            "The number that published figures give. It is close to blind: identical planes under "
            f"different noise reach .27, and chance .02. {between} have "
            f"{_number(found.weight_cosine[pair])}.",
        ),
    ]


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}"


def _why(first: str, second: str, same: bool) -> str:
    if same:
        return "the word itself"
    return next((status for status in (first, second) if status != "ok"), "ok")


def _table(layout: Layout, found: SubspaceSimilarity) -> pd.DataFrame:
    first, second = np.triu_indices(len(layout.words), 1)
    words = np.array(layout.words)
    columns = {"first": words[first], "second": words[second]}
    for name in ("similarity", "corrected", "z", "p", "p_family", "weight_cosine"):
        columns[name] = getattr(found, name)[first, second]
    for axis in range(found.angles.shape[2]):
        columns[f"angle_{axis + 1}_degrees"] = found.angles[first, second, axis]
    columns |= {f"reliability_{n}": found.reliability[w] for n, w in (("first", first), ("second", second))}  # fmt: skip # noqa: E501
    table = pd.DataFrame(columns)
    table.insert(0, "model", layout.model)
    return table
