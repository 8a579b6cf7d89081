"""What was done, in words, and the models side by side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from interp.report import Section, Table
from studies.concept_readout.corpus import Corpus
from studies.concept_readout.findings import survivors
from studies.concept_readout.judging import Judged


def method(corpus: Corpus, every: Sequence[Judged]) -> Section:
    """What was done, and each model at its block."""
    columns = {}
    for judged in every:
        found = survivors(judged)
        columns[judged.model] = {
            "block to use": judged.where,
            "mean AUROC, block chosen without the scenario": float(np.nanmean(judged.choice.auroc)),
            "concepts that survive": f"{int(found.sum())} of {len(found)}",
            "mean stability": float(np.nanmean(judged.stability.mean)),
            "texts cut": len(judged.readings.truncated),
        }
    scenarios = len(np.unique(corpus.scenario))
    return Section(
        "What was done, and the models side by side",
        [
            f"{len(corpus.texts)} texts of {len(corpus.concepts)} concepts in {scenarios} "
            f"scenarios (a story is one of its own), {corpus.n_baselines} neutral. A concept's "
            "vector at a block is the mean residual stream of its texts' last tokens less that of "
            "all others, at unit length. It is judged on scenarios it was not fitted on, at a "
            "block chosen without them; exported in four forms; and added to the running "
            "model: their words against vectors exchanged among the concepts, what later blocks "
            "make of them against vectors of dealt labels, each on its own readout.",
            Table(pd.DataFrame(columns).rename_axis("at the block to use"), "The models."),
        ],
    )
