"""The walk-through runs as it stands and prints what it says."""

import contextlib
import io
import re
from pathlib import Path

import torch

from interp.intervene import active

TEXT = (Path(__file__).parent.parent / "docs" / "hooks.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:```text\n(.*?)```)?", TEXT, flags=re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")


def _same(found: str, expected: str) -> bool:
    """Equal but for the last digit of decimals, which another CPU's order of sums may round the
    other way."""
    if NUMBER.sub("#", found).split() != NUMBER.sub("#", expected).split():
        return False
    pairs = zip(NUMBER.findall(found), NUMBER.findall(expected), strict=True)
    # the half covers what binary fractions leave of one unit in the last place
    return all(abs(float(a) - float(b)) < 1.5 * 10.0 ** -len(b.split(".")[1]) for a, b in pairs)


def test_the_comparison_sees_a_changed_digit():
    assert _same("p =  0.02\n", "p = 0.01")
    assert not _same("p = 0.03", "p = 0.01")
    assert not _same("ranks [2, 0.10]", "ranks [1, 0.10]")


def test_the_walk_through_prints_what_it_says():
    assert len(BLOCKS) > 10
    names: dict = {}
    for code, expected in BLOCKS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert _same(printed.getvalue(), expected), f"{code}\nprints\n{printed.getvalue()}"
    assert active(names["model"]) == ()
    assert torch.is_grad_enabled()
