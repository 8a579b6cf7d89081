"""Verdicts follow from tests, controls and what was searched, and from nothing else."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from interp.claims import Claim, as_records, as_table, control, description, finding, holm, judged
from interp.claims import Test as Refusal
from interp.numerals import listed, numeral, runs


def made(statement="it is there", p=0.001, **design):
    design = {"exchange": "text (40)", "subject": "m"} | design
    return finding("Is it?", statement, tests={"noise": p}, **design)


def verdicts(*claims):
    return [claim.verdict for claim in judged(claims)]


def test_holm_equals_its_definition_and_pays_for_every_finding():
    p = [0.01, 0.04, 0.03, 0.2]
    assert holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.2])
    assert verdicts(made("a", 0.04)) == ["supported"]
    assert verdicts(made("a", 0.04), made("b", 0.9)) == ["undecided", "undecided"]
    # the models asked for count as well
    assert verdicts(made("a", 0.04), made("a", 0.9, subject="n")) == ["undecided", "undecided"]


def test_all_rivals_must_be_refused():
    claim = finding(
        "q", "s", tests={"table": 0.001, "seasons": 0.3}, exchange="month (12)", subject="m"
    )
    (verdict,) = judged([claim])
    assert verdict.verdict == "undecided" and "seasons (p 0.3)" in verdict.reason
    assert verdict.p == 0.3


def test_an_interval_below_the_smallest_effect_refutes_and_a_wide_one_does_not():
    options = {"p": 0.4, "estimate": 0.01, "smallest_effect": 0.05, "unit": "R2"}
    assert verdicts(made(interval=(-0.02, 0.04), **options)) == ["refuted"]
    (wide,) = judged([made(interval=(-0.2, 0.3), detectable=".25 with power .8", **options)])
    assert wide.verdict == "undecided" and "could have shown .25" in wide.reason


def test_nan_and_none_are_never_met():
    assert verdicts(made(p=np.nan)) == ["not testable here"]
    assert verdicts(made(conditions={"dose": None})) == ["not testable here"]
    assert verdicts(made(conditions={"dose": np.False_})) == ["undecided"]
    assert verdicts(made(needs="five transcripts")) == ["not testable here"]
    # and one that cannot be tested costs the others nothing
    assert verdicts(made("a", 0.04), made("b", np.nan)) == ["supported", "not testable here"]


def test_a_failed_control_takes_its_subject_s_findings_and_no_others():
    broken = control("q", "the colour is not read", passed=False, fails_on="copies", subject="m")
    fine = made(subject="n")
    first, second, third = judged([broken, made(), fine])
    assert first.verdict == "failed"
    assert second.verdict == "not testable here" and "the colour is not read" in second.reason
    assert third.verdict == "supported"
    everywhere = control("q", "s", passed=False, fails_on="copies")
    assert verdicts(everywhere, made(), fine) == ["failed", *["not testable here"] * 2]
    with pytest.raises(ValueError, match="on which data it fails"):
        control("q", "s", passed=True, fails_on=" ")


def test_p_at_the_floor_of_its_draws_is_not_held_against_the_finding():
    claims = [made(str(k), Refusal(0.02, 0.02)) for k in range(4)]
    assert verdicts(*claims) == ["not testable here"] * 4
    assert verdicts(made("a", Refusal(0.125, 0.125))) == ["not testable here"]
    assert verdicts(*[made(str(k), Refusal(0.01, 0.01)) for k in range(4)]) == ["supported"] * 4


def test_descriptions_have_no_verdict_and_one_finding_is_primary():
    claim = description("q", "the depth of the peak", estimate=7, interval=(5, 9), unit="block")
    assert judged([claim])[0].verdict == "described"
    with pytest.raises(ValueError, match="two primary"):
        judged([made("a", primary=True), made("b", primary=True)])


@pytest.mark.parametrize("bad", [{"p": 1.5}, {"interval": (1.0, 0.0)}])
def test_impossible_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=r"no probability|reversed"):
        made(**bad)
    with pytest.raises(ValueError, match="has no test"):
        finding("q", "s", tests={}, exchange="text")


def test_claims_are_read_side_by_side_and_as_records():
    claims = judged([made(estimate=0.5, unit="R2"), made(estimate=0.6, unit="R2", subject="n")])
    assert as_table(claims).iloc[0].tolist() == ["supported: 0.5 R2", "supported: 0.6 R2"]
    record = as_records(claims)[0]
    assert record["tests"] == {"noise": {"p": 0.001, "floor": 0.0}}
    assert record["kind"] == "finding" and record["p_adjusted"] == 0.002


# --- as numbers, records and tables --------------------------------------------------------------


def claim(subject: str = "gpt2", **changes) -> Claim:
    given = {"subject": subject, "estimate": 0.97, "unit": "score", "interval": (0.95, 0.98)}
    return judged([made(**(given | changes))])[0]


def test_a_claim_takes_numbers_of_any_library_and_keeps_floats():
    taken = claim(
        estimate=np.float32(0.5),
        interval=(np.float64(0.25), torch.tensor(0.75)),
        controls={"shuffled": np.int64(2), "surface": "undefined"},
    )
    assert (taken.estimate, taken.interval) == (0.5, (0.25, 0.75))
    assert [type(value) for value in taken.controls.values()] == [float, str]


def test_models_read_side_by_side_in_the_order_given():
    claims = [
        claim("qwen"),
        claim("gpt2", p=0.2, interval=None),
        description("Why?", "Because.", needs="a run", subject="gpt2"),
    ]
    table = as_table(claims)
    assert list(table.columns) == ["qwen", "gpt2"]
    assert table.iloc[0].tolist() == [
        "supported: 0.97 [0.95, 0.98] score",
        "undecided: 0.97 score",
    ]
    assert table.loc[("Why?", "Because.")].tolist() == ["", "described"]


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
    assert claim().measured() == "0.97 [0.95, 0.98] score"
    assert claim(estimate=np.nan, p=np.nan).measured() == "could not be tested: noise"
    assert (
        description("q", "s", needs="a second model").measured() == "it would take a second model"
    )


def test_a_run_s_records_make_the_same_table_as_its_claims():
    claims = judged([made(subject="a", estimate=0.5), made(p=0.5, subject="b", estimate=0.5)])
    pd.testing.assert_frame_equal(as_table(as_records(claims)), as_table(claims))


@pytest.mark.parametrize(
    ("value", "written"),
    [(1234.5, "1234"), (99.96, "100"), (0.03, "0.03"), (-2500, "-2500"), (2e12, "2e+12"), (0, "0")],
)
def test_a_number_is_written_as_a_person_writes_it(value, written):
    assert numeral(value) == written
    assert claim(estimate=value, interval=None, unit="s").measured() == f"{written} s"


@pytest.mark.parametrize(
    ("chosen", "written"),
    [
        ("0000", "none"),
        ("1000", "a"),
        ("0110", "b to c"),
        ("1011", "a, c to d"),
        ("1111", "a to d"),
    ],
)
def test_neighbours_among_names_are_written_as_a_run(chosen, written):
    assert runs("abcd", np.array([mark == "1" for mark in chosen])) == written


def test_a_record_whose_limit_is_open_is_tabled():
    made = claim(interval=(0.1, np.inf))
    assert "[0.1, –]" in as_table(as_records([made])).to_string()


@pytest.mark.slow
def test_noise_supports_anything_in_a_twentieth_of_runs():
    rng = np.random.default_rng(0)
    studies = [
        judged([made(str(k), p) for k, p in enumerate(rng.uniform(size=8))]) for _ in range(1000)
    ]
    false = sum(any(c.verdict == "supported" for c in study) for study in studies)
    print(f"rate some of 8 findings supported on noise: {false} of 1000")
    assert false < 73


def test_findings_about_random_weights_are_described_and_cost_the_others_nothing():
    def about(subject: str, p: float) -> Claim:
        return finding(
            "Where?", "The word carries it.", subject=subject, tests={"chance": p},
            exchange="text", estimate=0.9, primary=True,
        )  # fmt: skip

    claims = [about("m", 0.04), about("random:m", 0.001), about("random:m", 0.3)]
    trained, first, second = judged(claims, untrained=("random:m",))
    assert trained.verdict == "supported" and trained.p_adjusted == 0.04
    assert [first.verdict, second.verdict] == ["described"] * 2
    assert first.estimate == 0.9 and not first.primary
    assert first.reason == "random weights, for comparison; p 0.001 by itself"
    assert judged(claims[:2])[0].p_adjusted == pytest.approx(0.04)


def test_names_are_listed_as_a_sentence_has_them():
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert (listed(["a"]), listed([]), listed([], none="no word")) == ("a", "none", "no word")
