"""A report is one file that draws everything it holds and asks the network for nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from browser import needs_browser, visit

from interp.claims import Claim, as_records, control, description, finding, judged
from interp.plots import AttentionView, Axis, Scale, heatmap, lines
from interp.report import Figure, Section, Table, render

HOSTILE = "</script><b>"


def claim(subject: str, met: bool | None, **changes) -> Claim:
    given = {
        "tests": {"permuted sentences": (0.005, 0.005)},
        "conditions": {"z > 4 against 200 permutations": met, "held-out R2 > 0": True},
        "exchange": "sentence (200)",
        "subject": subject,
        "estimate": 0.9712,
        "unit": "held-out score",
        "interval": (0.95, 0.98),
        "null": "200 permutations of sentences: mean 0.397, sd 0.003",
        "controls": {"month order shuffled": 0.4, "surface baseline": "same as the null"},
        "causal_test": "patching the plane moves the month logit by 3.1",
    }
    question = "Is the day of the year laid out on a circle?"
    made = finding(question, f"The month {HOSTILE} lies on a circle.", **(given | changes))
    return judged([made])[0]


def big_heatmap() -> go.Figure:
    """32 rows by 33 columns of words: the size at which labels are first to be clipped."""
    generator = np.random.default_rng(0)
    words = (
        "The annual celebration of Alexandra's birthday , which her grandmother organised in "
        "Copenhagen , falls on the twenty-seventh day of September and everybody in the "
        f"neighbourhood is cordially {HOSTILE} to come"
    ).split()
    depth = np.linspace(0, 1, 32)[:, None]
    after = 1 / (1 + np.exp(22 - np.arange(33.0)))
    values = 0.397 + 0.55 * depth * after + generator.normal(0, 0.02, (32, 33))
    values[:, 0] = np.nan
    status = np.where(np.isnan(values), "constant input", "")
    return heatmap(
        values,
        Axis(["embedding", *(f"block {block}" for block in range(31))]),
        Axis((words + words)[:33], "word of the prompt"),
        title="Held-out circular score by block and word",
        scale=Scale("held-out score", reference={"null": 0.397}),
        marks={"September": "source"},
        row_lines={"25 %": 8, "50 %": 16, "75 %": 24},
        survivors=np.nan_to_num(values) > 0.6,
        survivors_label="family-wise p < .05",
        status=status,
    )


def curve() -> go.Figure:
    x = np.linspace(0, 1, 12)
    return lines(
        {"gpt2": x**2, "qwen": x},
        [f"block {block}" for block in range(12)],
        title="Alignment by depth",
        x_title="block",
        y_title="z",
        bands={"gpt2": (x**2 - 0.1, x**2 + 0.1)},
        references={"null": 0.0},
    )


def view() -> AttentionView:
    pattern = np.tril(np.random.default_rng(1).random((2, 4, 4)))
    pattern /= pattern.sum(axis=2, keepdims=True)
    return AttentionView(("The", " cat", HOSTILE, "\n"), pattern, ("0.0", "0.1"), block=0)


def table() -> Table:
    frame = pd.DataFrame(
        {"word": [HOSTILE, "b"], "z": [1234.5678, np.nan], "n": [3, 4], "found": [True, False]},
        index=pd.Index([0, 5], name="block"),
    )
    return Table(frame, "Scores by block.")


def page(sections=None, claims=None) -> str:
    if sections is None:
        grid = Figure(big_heatmap(), "Brighter cells hold the date better than chance.")
        sections = [
            Section("Where the date is held", ["Text with <b> & markup.", grid, table()]),
            Section("By depth", [Figure(curve(), "The curve rises.")]),
            Section("Attention", [Figure(view(), "Choose a head.")]),
        ]
    if claims is None:
        claims = [claim("gpt2", True), claim("qwen", False), claim("gemma", None)]
    facts = {"model": "gpt2 <b>", "command": "python -m studies.date_manifold --model gpt2"}
    return render("Is there a circle?", as_records(claims), sections, facts=facts)


def scripts(html: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)


def test_verdicts_below_a_claim_name_their_model_on_a_phone():
    page = render("T", as_records([claim("gpt2", True), claim("", True)]), [])
    assert page.count('data-subject="gpt2"') == 1 == page.count('data-subject="')


@needs_browser
def test_a_full_report_draws_everything_offline_and_without_a_console_message(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page(), encoding="utf-8")
    seen = visit(path)
    assert (seen.errors, seen.requests) == ([], [])
    assert (seen.plots, seen.views) == (2, 1)
    # Literally in the claim, among the heatmap's labels, in the table, and in the attention view.
    assert seen.text.count(HOSTILE) == 3
    assert HOSTILE in seen.canvas
    assert "Text with <b> & markup." in seen.text
    assert seen.text.index("supported") < seen.text.index("Where the date is held", 300)


@needs_browser
def test_the_browser_check_can_fail(tmp_path):
    path = tmp_path / "broken.html"
    path.write_text(
        '<link rel="icon" href="data:,"><img src="https://example.org/x.png">'
        '<div class="plotly-graph-div"></div><script>throw new Error("broken")</script>'
    )
    seen = visit(path)
    assert seen.requests == ["https://example.org/x.png"]
    assert any("broken" in error for error in seen.errors)
    assert (seen.plots, seen.views) == (0, 0)


@needs_browser
def test_an_attention_view_shows_itself_in_a_notebook_without_the_network(tmp_path):
    path = tmp_path / "notebook.html"
    icon = '<link rel="icon" href="data:,">'
    path.write_text(f'<!doctype html>{icon}<div class="cell">{view()._repr_html_()}</div>')
    seen = visit(path)
    assert (seen.errors, seen.requests) == ([], [])
    assert HOSTILE in seen.canvas


@pytest.mark.parametrize(
    ("blocks", "plotly", "circuitsvis"),
    [(["text"], 0, 0), (["plot", "plot"], 1, 0), (["view", "view"], 0, 1)],
)
def test_each_library_is_inlined_once_and_only_where_needed(blocks, plotly, circuitsvis):
    made = {"text": "Nothing to draw.", "plot": Figure(curve(), "a"), "view": Figure(view(), "b")}
    html = page([Section("Only", [made[block] for block in blocks])])
    large = [script for script in scripts(html) if len(script) > 500_000]
    assert sum("plotly.js v" in script for script in large) == plotly
    assert sum("var CircuitsVis" in script[:200] for script in large) == circuitsvis


def test_no_text_of_ours_can_end_a_script_or_open_a_tag():
    opened: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: opened.append(tag)
    parser.feed(page())
    assert "b" not in opened
    assert opened.count("script") == 2 + 2 + 1, "two libraries, two plots, one view"


def test_claims_stand_first_with_models_side_by_side_and_their_judgement():
    html = page()
    top = html[html.index("<main>") : html.index('id="section-1"')]
    assert top.count('class="question"') == 1, "three models share one row"
    for text in ("gpt2", "qwen", "gemma", "not-testable-here", "0.971 [0.95, 0.98] held-out score"):
        assert text in top
    for text in (
        "z &gt; 4 against 200 permutations and held-out R2 &gt; 0",
        "Findings, each tested",
        "Against: permuted sentences",
        "not met: z &gt; 4",
        "could not be tested",
        "mean 0.397",
        "month order shuffled",
        "patching the plane",
    ):
        assert text in top, text


def test_a_table_keeps_its_named_index_aligns_numbers_and_dashes_what_is_absent():
    html = page([Section("Only", [table()])])
    assert '<th class="number">block</th><th>word</th><th class="number">z</th>' in html
    assert '<td class="number">1235</td><td class="number">3</td><td>True</td>' in html
    assert '<td class="number">5</td><td>b</td><td class="number">–</td>' in html
    bare = page([Section("Only", [Table(pd.DataFrame({"a": [1]}))])])
    assert '<tr><td class="number">1</td></tr>' in bare, "a bare row count is no column"


def test_any_object_with_element_and_props_is_a_view():
    @dataclass(frozen=True)
    class Hello:
        element: str = "Hello"
        props: Mapping[str, object] = field(default_factory=lambda: {"name": "<x>"})

    html = page([Section("Only", [Figure(Hello(), "")])])
    assert 'CircuitsVis["Hello"], {"name": "\\u003cx\\u003e"})' in html


def test_a_report_without_claims_says_so():
    assert "makes no claim" in page(claims=[])


def test_a_claim_made_twice_is_refused_rather_than_hidden():
    with pytest.raises(ValueError, match="gpt2"):
        page(claims=[claim("gpt2", True), claim("gpt2", False)])


def _written_cells(frame: pd.DataFrame) -> list[str]:
    page = render("t", [], [Section("s", [Table(frame)])])
    return re.findall(r"<td[^>]*>(.*?)</td>", page, re.S)


def test_counts_stay_whole_where_one_is_missing_and_scores_keep_four_digits():
    assert _written_cells(pd.DataFrame({"n": [1234567, None, 20480]})) == ["1234567", "–", "20480"]
    assert _written_cells(pd.DataFrame({"n": [1234567.25, 2.0]})) == ["1234567", "2"]
    assert _written_cells(pd.DataFrame({"n": [1234567, 3]})) == ["1234567", "3"]
    assert _written_cells(pd.DataFrame({"n": [np.inf, 2.0, -np.inf]})) == ["inf", "2", "-inf"]
    assert _written_cells(pd.DataFrame({"n": [np.float32(1e30)]})) == ["1e+30"]
    whole = pd.DataFrame({"n": pd.array([1234567, None], dtype="Int64")})
    assert _written_cells(whole) == ["1234567", "–"]
    assert _written_cells(pd.DataFrame({"t": [pd.NaT, pd.NA, None]})) == ["–"] * 3


def test_white_space_at_the_ends_of_a_cell_is_seen():
    shown = _written_cells(pd.DataFrame({"token": ["\n", "\t", " ", " the", "a b", ""]}))
    assert shown == ["↵", "⇥", "␣", "␣the", "a b", ""]


def test_an_index_named_as_a_column_is_refused_by_name():
    frame = pd.DataFrame({"block": [1, 2]}).set_index("block", drop=False)
    with pytest.raises(ValueError, match="index and a column are both called 'block'"):
        _written_cells(frame)


def test_findings_come_first_and_descriptions_have_no_verdict():
    claims = [
        description("How deep?", "The clearest depth.", estimate=7, unit="block"),
        control("Q?", "Copies carry nothing.", passed=True, fails_on="copies"),
        claim("gpt2", True),
    ]
    html = render("T", as_records(claims), [])
    places = [html.index(f">{text}") for text in ("Findings", "Controls", "Measured, without")]
    assert places == sorted(places)
    assert 'class="pill passed"' in html and 'class="pill described"' not in html
    assert "fails on copies" in html and "How it was measured" in html
