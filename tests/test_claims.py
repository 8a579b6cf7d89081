"""Claims follow from their conditions, and never by omission."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from interp.claims import Claim, as_records, as_table, judge
from interp.numerals import numeral


def claim(subject: str = "gpt2", **changes) -> Claim:
    given = {
        "conditions": {"z > 4": True, "held-out R2 > 0": True},
        "subject": subject,
        "estimate": 0.97,
        "unit": "score",
        "interval": (0.95, 0.98),
        "null": "200 permutations: mean 0.397, sd 0.003",
    }
    return Claim.decide("Is it a circle?", "The month lies on a circle.", **(given | changes))


@pytest.mark.parametrize(
    ("conditions", "verdict", "named"),
    [
        ({"z > 4": True, "R2 > 0": True}, "supported", "every condition"),
        ({"z > 4": True, "R2 > 0": False}, "not supported", "R2 > 0"),
        ({"z > 4": None, "R2 > 0": True}, "not testable here", "z > 4"),
        ({"z > 4": None, "R2 > 0": False}, "not supported", "R2 > 0"),
        ({"z > 4": np.bool_(False), "R2 > 0": np.bool_(True)}, "not supported", "z > 4"),
    ],
)
def test_the_verdict_follows_from_the_conditions_and_the_reason_names_them(
    conditions, verdict, named
):
    got, rule, reason = judge(conditions)
    assert (got, rule) == (verdict, "z > 4 and R2 > 0")
    assert named in reason
    spared = {"z > 4", "R2 > 0"} - {named}
    assert len(spared) == 2 or not any(name in reason for name in spared)


def test_no_condition_supports_nothing():
    with pytest.raises(ValueError, match="at least one"):
        judge({})


def test_a_claim_takes_numbers_of_any_library_and_keeps_floats():
    made = claim(
        estimate=np.float32(0.5),
        interval=(np.float64(0.25), torch.tensor(0.75)),
        controls={"shuffled": np.int64(2), "surface": "undefined"},
    )
    assert (made.estimate, made.interval) == (0.5, (0.25, 0.75))
    assert [type(value) for value in made.controls.values()] == [float, str]


def test_models_read_side_by_side_in_the_order_given():
    claims = [
        claim("qwen"),
        claim("gpt2", conditions={"z > 4": False}, interval=None),
        Claim.decide("Why?", "Because.", conditions={"run": None}, null="none", subject="gpt2"),
    ]
    table = as_table(claims)
    assert list(table.columns) == ["qwen", "gpt2"]
    assert table.loc[("Is it a circle?", "The month lies on a circle.")].tolist() == [
        "supported: 0.97 [0.95, 0.98] score",
        "not supported: 0.97 score",
    ]
    assert table.loc[("Why?", "Because.")].tolist() == ["", "not testable here"]


def test_no_claims_make_an_empty_table():
    assert as_table([]).shape == (0, 0)


def test_a_claim_made_twice_is_refused_rather_than_hidden():
    with pytest.raises(ValueError, match="gpt2"):
        as_table([claim(), claim(estimate=0.1)])


def test_records_are_strict_json_and_keep_every_field():
    made = claim(estimate=float("nan"), interval=(0.1, np.inf), controls={"shuffled": np.nan})
    (record,) = json.loads(json.dumps(as_records([made]), allow_nan=False))
    assert record["estimate"] is None
    assert record["interval"] == [0.1, None]
    assert record["controls"] == {"shuffled": None}
    assert record["verdict"] == "supported"
    assert set(record) == set(Claim.__dataclass_fields__)


def test_a_claim_says_what_was_measured_or_why_nothing_was():
    options = {"null": "none", "conditions": {"it holds": True}}
    claim = Claim.decide("q", "s", estimate=0.5, interval=(0.25, 0.75), unit="R2", **options)
    assert claim.measured() == "0.5 [0.25, 0.75] R2"
    absent = Claim.decide("q", "s", estimate=float("nan"), null="none", conditions={"seen": None})
    assert absent.estimate is None and absent.measured() == "could not be tested: seen"


def test_a_run_s_records_make_the_same_table_as_its_claims():
    made = [
        Claim.decide(
            "q",
            "s",
            subject=name,
            conditions={"c": met},
            null="n",
            estimate=0.5,
            interval=(0.4, 0.6),
        )
        for name, met in (("a", True), ("b", False))
    ]
    pd.testing.assert_frame_equal(as_table(as_records(made)), as_table(made))


@pytest.mark.parametrize(
    ("value", "written"),
    [(1234.5, "1234"), (99.96, "100"), (0.03, "0.03"), (-2500, "-2500"), (2e12, "2e+12"), (0, "0")],
)
def test_a_number_is_written_as_a_person_writes_it(value, written):
    assert numeral(value) == written
    assert claim(estimate=value, interval=None, unit="s").measured() == f"{written} s"


def test_a_record_whose_limit_is_open_is_tabled():
    made = claim(interval=(0.1, np.inf))
    assert "[0.1, –]" in as_table(as_records([made])).to_string()
