"""Do translations align, or the few words that many texts are made of?

Exchanging texts asks whether *these* pairs fit. Five hundred texts made of fifty nouns hold fifty
accidents, each of them often: vectors that know nothing of translation then give p <= .05 in a
fifth of cases (Clark 1973, on language as a fixed effect). What knows of translation is the
dictionary, so the dictionary is exchanged:

1. A text's row is the weighted mean of its tokens' vectors, W @ E, with a column of W for each
   token that the texts of its language use.
2. Under the null the second language's vectors are dealt anew to its tokens, within kinds of token.
   Recurring words, their number and the templates stay as they are.
3. Each dealing gives the excess of pairs over scrambled pairs within strata. With unit rows a and b
   this is the mean of a_i . b_i less that of every a with every b, which takes no table of scores.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from interp import arrays
from interp.alignment._pairing import permuted_within, strata_rows
from interp.alignment._scores import unit_rows
from interp.arrays import Arraylike
from interp.stats import permutation_test


@dataclass(frozen=True)
class DictionaryTest:
    """Pairs made of tokens, held against dictionaries dealt anew; one-sided."""

    excess: float
    """Mean cosine of the pairs less that of scrambled pairs of their stratum."""
    z: float
    """The excess in standard deviations from the mean over dictionaries; NaN where none differ."""
    p: float
    """Share of dictionaries with an excess at or above the observed, itself included."""
    floor: float
    """The least p that so many dictionaries allow."""


def dictionary_test(
    first: tuple[Float[np.ndarray, "n types_1"], Float[np.ndarray, "types_1 d"]],
    second: tuple[Float[np.ndarray, "n types_2"], Float[np.ndarray, "types_2 d"]],
    kinds: Shaped[np.ndarray, " types_2"],
    strata: Arraylike | None = None,
    *,
    centre: bool = False,
    n_permutations: int = 999,
    seed: int = 0,
) -> DictionaryTest:
    """Hold pairs of texts against dictionaries in which the second side's vectors are dealt anew.

    Args:
        first: Of the first side, the weight of each token in each text, and each token's vector.
        second: The same of the second side; row i of both is a pair.
        kinds: Kind of each of the second side's tokens; vectors are dealt within kinds.
        strata: Label of each pair; pairs are compared within it.
        centre: Whether each side's mean is taken away first.
        n_permutations: Dictionaries.
        seed: Of the dealings.

    Raises:
        ValueError: sides of different numbers of texts or dimensions, weights and vectors of
            different numbers of tokens, or values that are not finite.
    """
    sides = [_side(name, *side) for name, side in (("first", first), ("second", second))]
    (weights, vectors), (others, dealt) = sides
    if len(weights) != len(others) or vectors.shape[1] != dealt.shape[1]:
        raise ValueError(
            f"the first side has {len(weights)} texts in {vectors.shape[1]} dimensions, the second "
            f"{len(others)} in {dealt.shape[1]}"
        )
    kinds = arrays.labels(kinds, len(dealt), name="kinds")
    members = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    own, rng = _units(weights @ vectors, centre), np.random.default_rng(seed)
    rows_of = list(strata_rows(len(weights), strata).values())
    values = np.empty(n_permutations + 1)
    order = np.arange(len(dealt))
    for draw in range(n_permutations + 1):
        values[draw] = _excess(own, _units(others @ dealt[order], centre), rows_of)
        order = permuted_within(members, rng)
    test = permutation_test(values[:1], values[1:, None])
    return DictionaryTest(
        float(values[0]), float(test.z[0]), float(np.nan_to_num(test.p[0], nan=1.0)), test.floor
    )


def _side(
    name: str, weights: Float[np.ndarray, "n types"], vectors: Float[np.ndarray, "rows d"]
) -> tuple[np.ndarray, np.ndarray]:
    weights = arrays.activations(weights, name=f"weights of the {name} side").astype(np.float64)
    vectors = arrays.activations(vectors, name=f"vectors of the {name} side").astype(np.float64)
    if weights.shape[1] != len(vectors):
        raise ValueError(
            f"the {name} side weighs {weights.shape[1]} tokens and has {len(vectors)} vectors"
        )
    return weights, vectors


def _units(rows: Float[np.ndarray, "n d"], centre: bool) -> Float[np.ndarray, "n d"]:
    return unit_rows(rows - rows.mean(axis=0) if centre else rows)


def _excess(
    A: Float[np.ndarray, "n d"], B: Float[np.ndarray, "n d"], rows_of: list[np.ndarray]
) -> float:
    matched = float(np.einsum("nd,nd->", A, B))
    expected = sum(float(A[rows].sum(axis=0) @ B[rows].sum(axis=0)) / len(rows) for rows in rows_of)
    return (matched - expected) / len(A)
