"""What ablating directions costs, held to what other directions cost.

1. An `Ablation` holds losses at one depth: under the directions of several roles, and under other
   directions by kind, such as random ones or those of labels dealt anew.
2. A `Sweep` holds one role's ablation at several depths, with the same other directions at each.
   The depth where most is lost is held to the depth where each other direction costs most (max-T,
   Westfall & Young 1993).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.stats import mean_interval, p_among, permutation_test


@dataclass(frozen=True)
class Ablation:
    """What logits lose at one depth."""

    depth: str
    """Where directions were ablated."""
    role: str
    """The role whose direction is asked about."""
    before: Float[np.ndarray, " group"]
    """Logit of the right answer less that of the other, unedited, mean over answers."""
    roles: Mapping[str, Float[np.ndarray, " group"]]
    """Loss under each role's direction."""
    others: Mapping[str, Float[np.ndarray, "direction group"]]
    """Loss under other directions, by kind."""
    n_answers: int
    """Number of answers that were asked for."""

    def p(self, role: str, kind: str) -> float:
        """Rank of a role's mean loss among that of other directions, one-sided."""
        return p_among(self.roles[role].mean(), self.others[kind].mean(axis=1))

    def floor(self, kind: str) -> float:
        """Least p that so many directions of a kind allow."""
        return 1 / (len(self.others[kind]) + 1)


@dataclass(frozen=True)
class Sweep:
    """One role's direction ablated at several depths, beside the same other directions at each."""

    at: tuple[Ablation, ...]
    """One ablation a depth."""

    @property
    def lost(self) -> Float[np.ndarray, "depth group"]:
        """Loss under the role's own direction."""
        return np.stack([ablation.roles[ablation.role] for ablation in self.at])

    @property
    def best(self) -> int:
        """Number of the depth where most is lost."""
        return int(self.lost.mean(axis=1).argmax())

    def p(self, kind: str) -> float:
        """p of the loss there among those of other directions, family-wise over depths."""
        others = np.stack([ablation.others[kind].mean(axis=1) for ablation in self.at], axis=1)
        test = permutation_test(self.lost.mean(axis=1), others)
        return float(test.p_family[self.best])

    def table(self, short: Mapping[str, str]) -> pd.DataFrame:
        """Mean loss of every direction at every depth, with limits over groups and p values.

        `short` names the kinds of other directions in the columns of p values.
        """
        rows: list[dict[str, object]] = []
        for ablation in self.at:
            for role, loss in ablation.roles.items():
                low, high = mean_interval(loss)
                p = {f"p, {short[kind]}": ablation.p(role, kind) for kind in ablation.others}
                rows.append({**_cell(ablation, role, loss), "low": low, "high": high, **p})
            for kind, losses in ablation.others.items():
                mean = losses.mean(axis=1)
                rows.append({**_cell(ablation, kind, mean), "sd": mean.std()})
        return pd.DataFrame(rows)


def _cell(ablation: Ablation, name: str, losses: np.ndarray) -> dict[str, object]:
    return {
        "depth": ablation.depth,
        "direction ablated": name,
        "logits lost": losses.mean(),
    }
