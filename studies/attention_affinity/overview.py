"""What was done, in words and numbers."""

import pandas as pd

from interp.report import Block, Section, Table
from studies.attention_affinity.residuals import Residuals
from studies.attention_affinity.results import Measured


def title(found: Measured) -> str:
    """The report's title; a control run says so."""
    question = "Which directions attend to which"
    if found.other is None:
        return f"{question}?"
    if found.other.noise is not None:
        return f"Control: {question.lower()}, and what does noise change?"
    return f"{question}, and what did tuning change?"


def method(found: Measured, residuals: Residuals | None, rows: int) -> Section:
    """What was done."""
    directions, settings = found.directions, found.settings
    body: list[Block] = []
    if found.other is not None and found.other.noise is not None:
        body.append(
            f"Control run: the second model is the first with {100 * found.other.noise:g} % of "
            "Gaussian noise on every head's attention weights. Nothing is routed anew."
        )
    body += [
        f"{len(directions)} directions, {directions.note}, go through every head of "
        f"{len(settings.blocks)} blocks without running the model: as query and key at distances "
        f"{', '.join(settings.labels)} (logit, with norm, rotation, query and key norm and biases "
        "as the model has them), and as what is attended to and what is written (cosine). "
        f"{rows:,} rows are in affinity.parquet.",
        _null(found, residuals),
        "Beside them go 96 unrelated directions, dealt into 200 sets of as many as there are named "
        "ones. Cells of one run are not independent (they share directions, and their blocks feed "
        "each other), so claims are held to whole sets.",
        _files(found),
    ]
    return Section("What was done", body)


def _null(found: Measured, residuals: Residuals | None) -> str:
    if residuals is None:
        return (
            "Null: isotropic, all directions of the residual stream alike, which real residuals "
            "are not: against it many unrelated pairs of real residuals look significant. Give "
            "--residuals or --null covariance for the other one."
        )
    fitted, held = (len(part) for part in residuals.split)
    return (
        f"Null: the covariance of residuals before each block in {fitted} texts, "
        f"{len(residuals.store.positions)} tokens each, of {found.base.label}, as deviations from "
        "their mean with both signs (a direction has no mean of its own). Unrelated directions are "
        f"such deviations in {held} other texts. For what is written, the null is the cosine with "
        "such deviations, and for self pairs that of each deviation with what is written for it. "
        "The difference of two models is scored on the same vectors in both."
    )


def _files(found: Measured) -> Table:
    rows = []
    for side, model in (("base", found.base), ("instruct", found.other)):
        if model is None:
            continue
        rows.append(
            {
                "": side,
                "model": model.label,
                "blocks": model.blocks,
                "heads": model.heads,
                "key-value heads": model.shape["key-value heads"],
                "MB of attention and norms": model.size.bytes_needed / 1e6,
                "MB in all": model.size.bytes_total / 1e6,
            }
        )
    return Table(
        pd.DataFrame(rows),
        f"The checkpoints; {found.bytes_read / 1e6:.1f} MB of tensors were read for the scores.",
    )
