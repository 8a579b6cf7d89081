"""What was done, in words, and the models side by side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from interp.plots import lines
from interp.report import Figure, Section, Table
from studies.embedding_alignment.measuring import Measured, Settings
from studies.embedding_alignment.problems import Pairs
from studies.embedding_alignment.reading import best_block, gains, named


def method(pairs: Pairs, settings: Settings, every: Sequence[Measured]) -> Section:
    """What was done, in words, and the models side by side."""
    sizes = {name: int((pairs.category == name).sum()) for name in dict.fromkeys(pairs.category.tolist())}  # fmt: skip # noqa: E501
    identical = f" {pairs.identical} pairs have identical texts." if pairs.identical else ""
    if pairs.copies:
        identical += f" {pairs.copies} more repeat one of these on both sides and are left out."
    return Section(
        "What was done, and the models side by side",
        [
            f"{len(pairs)} pairs of {' and '.join(pairs.languages)} texts "
            f"({', '.join(f'{name}: {size}' for name, size in sizes.items())}).{identical} Each "
            "text is read at every depth as the last token, the mean over tokens and means over "
            "kinds of token. The mean cosine of pairs is held against scrambled pairs by exact "
            "moments (no sampling), among all pairs and within categories, where the template is "
            "the same. "
            f"Intervals come from {settings.resamples} resamples of pairs, in which a pair's own "
            "copy does not count as a stranger.",
            f"Example: {pairs.texts[0][0]} | {pairs.texts[1][0]}",
            _side_by_side(every),
            *([_together(every)] if len(every) > 1 else []),
        ],
    )


def _side_by_side(every: Sequence[Measured]) -> Table:
    columns: dict[str, dict[str, object]] = {}
    for found in every:
        z, gain, share = found.curve("mean"), gains(found), found.shares[0]
        best = best_block(found)
        last = found.cell(0, "last")
        columns[found.model] = {
            "raw embedding, last token: z among all": last.plain.z,
            "the same within categories": last.stratified.z,
            "raw embedding, mean": z[0],
            "... of which shared tokens carry": share.share,
            "raw embedding, words of one language, centred": found.cell(0, "specific").centred.z,
            "block 0": z[1],
            "best block": f"{z[best]:.4g} ({found.depths[best]})",
            "last block": z[-2],
            "last block, last token": found.curve("last")[-2],
            "blocks above the embedding": named(found, gain.above),
            "blocks below it": named(found, gain.below),
        }
    table = pd.DataFrame(columns).rename_axis("z within categories, mean pooling unless named")
    return Table(table, "The models side by side.")


def _together(every: Sequence[Measured]) -> Figure:
    at = np.linspace(0, 100, 21)
    series = {}
    for found in every:
        for pooling in ("mean", "unshared"):
            z = found.curve(pooling)[:-1]  # the final norm is no depth of its own
            series[f"{found.model}, {pooling}"] = np.interp(at, np.linspace(0, 100, len(z)), z)
    figure = lines(
        series,
        at.tolist(),
        title="Models side by side: z within categories",
        x_title="depth in % of the blocks",
        y_title="z",
        references={"chance": 0},
    )
    return Figure(figure, "0 % is the raw embedding, 100 % the last block.")
