"""The table of verdicts, a few sets a row: no row is grossly off, and the rule itself can fail."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import verdicts


def test_the_quick_table_holds(capsys):
    assert verdicts.main(["--quick", "--jobs", "1"]) == 0
    table = capsys.readouterr().out
    assert table.count("\n| ") >= len(verdicts.rows())


@pytest.mark.parametrize(
    ("due", "hits", "n", "said"),
    [
        ("level", 21, 200, "holds"),
        ("level", 22, 200, "FAILS"),
        ("rival", 10, 120, "holds"),
        ("rival", 24, 120, "FAILS"),
        ("power", 10, 120, "low"),
        ("covers", 380, 400, "holds"),
        ("covers", 340, 400, "FAILS"),
        ("covers", 400, 400, "FAILS"),
    ],
)
def test_a_rate_that_is_off_fails(due, hits, n, said):
    """.05 of 200 fails from 22 hits on, by a binomial test at .001."""
    assert verdicts.judged(verdicts.Row("f", "d", bool, (), due), hits, n) == said
