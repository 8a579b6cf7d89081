"""Pictures show every label and value as given, and attention as the model computes it."""

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from tiny_models import tiny_bridge, tiny_pair, tiny_tokenizer

from interp.plots import (
    Axis,
    Scale,
    agreement,
    attention,
    attention_between,
    can_be_shown,
    circle,
    depth_lines,
    depth_map,
    heatmap,
    left_out_map,
    lines,
    order_map,
    reuse_map,
    scatter,
    score_map,
)
from interp.smds import Fit, smds_grid
from interp.stats import Resampling
from interp.tasks import Workers

MONTHS = ("January", "February", "March", "April", "May", "June")


def grid(values: np.ndarray, **options) -> go.Figure:
    rows, columns = (
        options.pop(side, [f"{name} {number}" for number in range(n)])
        for side, name, n in zip(("rows", "columns"), ("block", "word"), values.shape, strict=True)
    )
    options = {"title": "Scores", "scale": Scale("score")} | options
    return heatmap(values, Axis(rows), Axis(columns), **options)


def scores(rows: int = 3, columns: int = 4) -> np.ndarray:
    return np.linspace(0.0, 1.0, rows * columns).reshape(rows, columns)


def traces(figure: go.Figure, **attributes) -> list:
    return list(figure.select_traces(attributes))


def texts(figure: go.Figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def test_the_first_row_is_at_the_bottom_and_every_label_is_a_tick():
    figure = grid(scores(), rows=["embedding", "block 0", "block 1"])
    axis = figure.layout.yaxis
    assert axis.range[0] < axis.range[1], "an axis that is reversed would put depth downwards"
    assert axis.ticktext[axis.tickvals.index(0)] == "embedding"
    assert len(axis.ticktext) == 3
    assert figure.layout.xaxis.automargin or figure.layout.template.layout.xaxis.automargin


def test_repeated_words_keep_columns_of_their_own():
    figure = grid(scores(), columns=["the", "day", "the", "day"])
    assert list(figure.layout.xaxis.ticktext) == ["the", "day", "the", "day"]
    assert len(set(figure.layout.xaxis.tickvals)) == 4


def test_labels_are_thinned_only_where_they_would_touch():
    assert len(grid(scores(2, 60)).layout.xaxis.tickvals) == 60
    assert len(grid(scores(2, 130)).layout.xaxis.tickvals) < 64


def test_markup_in_a_token_is_shown_and_not_obeyed():
    figure = grid(scores(), columns=["<b>", "a & b", "c", "d"], title="1 < 2")
    assert list(figure.layout.xaxis.ticktext)[:2] == ["&lt;b&gt;", "a &amp; b"]
    assert "&lt;b&gt;" in figure.data[0].hovertext[0][0]
    assert figure.layout.title.text == "1 &lt; 2"


@pytest.mark.parametrize("absent", [np.nan, np.inf])
def test_an_undefined_cell_is_hatched_without_a_colour_and_gives_its_status(absent):
    values = scores()
    values[1, 2] = absent
    status = np.full(values.shape, "", dtype=object)
    status[1, 2] = "constant input"
    figure = grid(values, status=status)
    assert np.isnan(figure.data[0].z[1, 2])
    assert "constant input" in figure.data[0].hovertext[1][2]
    (hatching,) = traces(figure, name="undefined")
    assert (list(hatching.x), list(hatching.y)) == ([2], [1])
    assert (figure.data[0].zmin, figure.data[0].zmax) == (0.0, 1.0)
    assert not traces(grid(scores()), name="undefined")


def test_a_midpoint_makes_the_scale_signed_and_symmetric():
    figure = grid(scores() - 0.25, scale=Scale("score", midpoint=0))
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-0.75, 0.75)
    assert figure.data[0].colorscale != grid(scores()).data[0].colorscale


def test_the_null_stands_on_the_colour_bar_without_a_tick_beneath_it():
    scale = Scale("score", reference={"null": 0.397, "outside": 7.0})
    bar = grid(scores(), scale=scale).data[0].colorbar
    assert [text for text in bar.ticktext if "null" in text] == ["<b>0.397 null</b>"]
    assert not any("outside" in text for text in bar.ticktext)
    gaps = np.diff(np.sort(np.array(bar.tickvals)))
    assert gaps.min() > 0.05


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.217, 9.4), (1e-7, 3e-7), (0.39, 0.41)])
def test_ticks_of_the_colour_bar_are_round_and_within_range(low, high):
    ticks = np.array(grid(scores(), scale=Scale("score", low, high)).data[0].colorbar.tickvals)
    assert 4 <= len(ticks) <= 9
    assert (ticks >= low - 1e-6 * (high - low)).all() and (ticks <= high * (1 + 1e-6)).all()
    step = ticks[1] - ticks[0]
    mantissa = step / 10 ** np.floor(np.log10(step) + 1e-9)
    assert np.isclose([1, 2, 2.5, 5], mantissa).any()


def test_a_constant_grid_still_has_a_scale():
    figure = grid(np.ones((2, 2)))
    assert figure.data[0].zmin < 1 < figure.data[0].zmax
    assert len(figure.data[0].colorbar.tickvals) >= 4


def test_marks_lines_and_survivors_stand_where_they_belong():
    survivors = scores() > 0.9
    figure = grid(
        scores(),
        marks={"word 2": "source"},
        row_lines={"50 %": 1},
        survivors=survivors,
        survivors_label="max-T p < .05",
    )
    (dots,) = traces(figure, name="max-T p &lt; .05")
    assert list(zip(dots.y, dots.x, strict=True)) == [
        tuple(cell) for cell in np.argwhere(survivors)
    ]
    (box,) = figure.layout.shapes
    assert (box.x0, box.x1) == (1.5, 2.5)
    assert {"source ▾", "50 %"} <= set(texts(figure))


def test_a_mark_or_labels_that_fit_no_column_are_refused():
    with pytest.raises(ValueError, match="word 9"):
        grid(scores(), marks={"word 9": "source"})
    with pytest.raises(ValueError, match="4 column labels|3 column labels"):
        grid(scores(), columns=["a", "b", "c"])


def test_a_boxed_cell_has_a_frame_and_its_value_inside_or_beside_it():
    values = scores()
    values[1, 3] = np.nan
    figure = grid(values, boxed=[(0, 1), (1, 3)])
    frames = [(box.x0, box.x1, box.y0, box.y1) for box in figure.layout.shapes]
    assert frames == [(0.5, 1.5, -0.5, 0.5), (2.5, 3.5, 0.5, 1.5)]
    first, second = figure.layout.annotations
    assert (first.text, first.y, second.text, second.y) == ("<b>0.09</b>", 0, "<b>undefined</b>", 1)
    assert 0.5 < first.x < 1 and 2.5 < second.x < 3 and first.xanchor == second.xanchor == "left"
    assert not grid(values).layout.shapes
    # narrow cells hold no number: it stands beside them, towards the inside
    many = heatmap(
        np.tile(scores(), 4),
        Axis("abc"),
        Axis([str(number) for number in range(16)]),
        title="t",
        scale=Scale("z"),
        boxed=[(0, 1), (1, 15)],
    )
    first, second = many.layout.annotations
    assert first.x > 1.5 and first.xanchor == "left"
    assert second.x < 14.5 and second.xanchor == "right"


@pytest.mark.parametrize("cell", [(3, 0), (0, 4), (-1, 0), (0, -1)])
def test_a_boxed_cell_outside_of_the_grid_is_refused(cell):
    with pytest.raises(ValueError, match=r"is outside of 3 rows x 4 columns"):
        grid(scores(), boxed=[(1, 1), cell])


def test_each_curve_has_its_band_and_the_reference_its_line():
    x = np.arange(5.0)
    figure = lines(
        {"a": x, "b": 2 * x},
        list("vwxyz"),
        title="t",
        x_title="word",
        y_title="z",
        bands={"b": (2 * x - 1, 2 * x + 1)},
        references={"null": 0.5},
    )
    (band,) = traces(figure, legendgroup="b", showlegend=False)
    assert list(band.y) == [*(2 * x + 1), *(2 * x - 1)[::-1]]
    assert list(figure.layout.xaxis.ticktext) == list("vwxyz")
    assert figure.layout.shapes[0].y0 == 0.5
    assert len({trace.line.color for trace in traces(figure, mode="lines+markers")}) == 2


def test_depths_have_short_names_on_the_axis_which_its_title_explains():
    x = np.arange(4.0)
    depths = ("embedding", "block 0", "block 1", "final norm")
    figure = depth_lines({"a": x}, depths, title="t", y_title="z", bands={"a": (x - 1, x + 1)})
    assert list(figure.layout.xaxis.ticktext) == ["emb", "0", "1", "norm"]
    title = figure.layout.xaxis.title.text
    assert title == "block (emb: the raw embedding; norm: after the final norm)"
    assert traces(figure, fill="toself")
    inner = depth_lines({"a": x[1:3]}, depths[1:3], title="t", y_title="z")
    assert inner.layout.xaxis.title.text == "block"


def test_a_band_with_an_undefined_point_is_not_filled_across_it():
    x = np.array([0.0, np.nan, 2.0])
    figure = lines(
        {"a": x}, [0, 1, 2], title="", x_title="", y_title="", bands={"a": (x - 1, x + 1)}
    )
    assert not traces(figure, fill="toself")
    (bars,) = traces(figure, mode="markers")
    assert bars.error_y.array[0] == 1.0 and np.isnan(bars.error_y.array[1])


def test_a_stray_band_or_a_curve_of_another_length_is_refused():
    x = np.arange(3.0)
    options = {"title": "", "x_title": "", "y_title": ""}
    with pytest.raises(ValueError, match="'c'"):
        lines({"a": x}, [0, 1, 2], bands={"c": (x, x)}, **options)
    with pytest.raises(ValueError, match="3 points for 2"):
        lines({"a": x}, [0, 1], **options)


def test_centroids_are_joined_in_cyclic_order_even_across_the_turn_of_the_year():
    generator = np.random.default_rng(0)
    # Six categories, the first of which straddles label 0: its plain mean would be the half turn.
    centres = np.repeat(np.arange(6) * 60.0, 40)
    values = (centres + generator.uniform(-20, 20, centres.size)) % 360
    angle = np.deg2rad(values)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    names = np.repeat(MONTHS, 40).tolist()
    figure = circle(points, values, period=360, title="", categories=names)
    (path,) = traces(figure, mode="lines+markers")
    steps = np.diff(np.unwrap(np.arctan2(path.y, path.x)))
    assert np.allclose(np.rad2deg(steps), 60, atol=8), "sampling noise of 40 points over 40 degrees"
    assert (path.x[0], path.y[0]) == (path.x[-1], path.y[-1])
    assert sorted(texts(figure)) == sorted(MONTHS)


def test_colours_of_the_plane_close_after_one_period():
    points = np.zeros((3, 2))
    figure = circle(points, np.array([0.0, 365.0, 730.0]), period=365, title="")
    marker = figure.data[0].marker
    assert list(marker.color) == [0.0, 0.0, 0.0]
    assert marker.colorscale[0][1] == marker.colorscale[-1][1]


def test_a_plane_refuses_a_period_or_categories_that_do_not_fit():
    points, values = np.zeros((2, 2)), np.zeros(2)
    with pytest.raises(ValueError, match="period is 0"):
        circle(points, values, period=0, title="")
    with pytest.raises(ValueError, match="1 categories for 2"):
        circle(points, values, period=1, title="", categories=["a"])


def test_agreement_stands_on_its_diagonal_where_prediction_and_truth_are_equal():
    truth, predicted = np.array([0.2, -1.0, 3.0]), np.array([0.5, -1.0, 2.0])
    names = ["<1>", "b", "c"]
    options = {"title": "t", "x_title": "true", "y_title": "predicted"}
    figure = agreement(predicted, truth, categories=names, **options)
    (diagonal,) = traces(figure, mode="lines")
    assert list(diagonal.x) == list(diagonal.y) == [-1.0, 3.0]
    (points,) = traces(figure, mode="markers")
    assert list(points.x) == truth.tolist() and list(points.y) == predicted.tolist()
    assert list(points.hovertext) == ["&lt;1&gt;", "b", "c"]
    axes = (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text)
    assert axes == ("true", "predicted")
    assert traces(agreement(predicted, truth, **options), mode="markers")[0].hovertext is None
    with pytest.raises(ValueError, match="2 categories for 3 samples"):
        agreement(predicted, truth, categories=names[:2], **options)


TEXT = "Alice was born on the 27th of June."


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gemma3"])
def test_attention_is_the_models_own_with_its_own_tokens(family):
    model, reference = tiny_pair(family)
    shown = attention(model, TEXT, 1, heads=[3, 0])
    ids = tiny_tokenizer(family)(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = reference(ids, output_attentions=True).attentions[1][0, [3, 0]].numpy()
    # The same operations in float32, up to the order of sums.
    np.testing.assert_allclose(shown.attention, expected, atol=1e-6)
    assert shown.heads == ("1.3", "1.0")
    assert len(shown.tokens) == ids.shape[1]
    assert "".join(shown.tokens).replace("<bos>", "").replace("▁", " ").strip() == TEXT


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_the_block_shown_has_the_head_that_attends_most_between_two_words(family):
    model, reference = tiny_pair(family)
    ids = tiny_tokenizer(family)(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        patterns = torch.stack(reference(ids, output_attentions=True).attentions)[:, 0]
    between = patterns[:, :, 6, [2, 3]].sum(dim=-1)  # block, head
    block = int(between.max(dim=1).values.argmax())
    shown = attention_between(model, TEXT, 6, [2, 3])
    order = between[block].argsort(descending=True).tolist()
    assert shown.block == block
    assert shown.heads == tuple(f"{block}.{head}" for head in order)
    np.testing.assert_allclose(shown.attention, patterns[block, order].numpy(), atol=1e-6)
    last = attention_between(model, TEXT, -1, [2])
    assert last.heads == attention_between(model, TEXT, ids.shape[1] - 1, [2]).heads


def test_attention_between_tokens_that_a_text_lacks_is_refused():
    model = tiny_bridge("gpt2")
    with pytest.raises(ValueError, match="token 99 is out of range: the text has 0 to"):
        attention_between(model, TEXT, 2, [99])
    with pytest.raises(ValueError, match="keys is empty"):
        attention_between(model, TEXT, 2, [])


def test_attention_out_of_range_or_over_a_long_text_is_refused():
    model = tiny_bridge("gpt2")
    with pytest.raises(ValueError, match="block 3 is out of range: the model has 0 to 2"):
        attention(model, TEXT, 3)
    with pytest.raises(ValueError, match="block -1"):
        attention(model, TEXT, -1)
    with pytest.raises(ValueError, match="head 4 is out of range: the model has 0 to 3"):
        attention(model, TEXT, 0, heads=[4])
    with pytest.raises(ValueError, match="at most 256"):
        attention(model, TEXT * 40, 0)
    assert can_be_shown(model, TEXT) and not can_be_shown(model, TEXT * 40)


@pytest.mark.parametrize(
    "bounds, drawn", [({"high": 0.5}, (-0.5, 0.5)), ({"low": 9.0}, (9, 10)), ({}, (1, 4))]
)
def test_a_bound_of_the_colours_is_kept_where_all_values_lie_beyond_it(bounds, drawn):
    figure = grid(np.array([[1.0, 2.0], [3.0, 4.0]]), scale=Scale("v", **bounds))
    assert (figure.data[0].zmin, figure.data[0].zmax) == drawn
    with pytest.raises(ValueError, match="low = 2.0 is not below high = 1.0"):
        Scale("v", 2.0, 1.0)


def test_bounds_beside_a_midpoint_are_kept_or_refused():
    values = np.array([[0.1, 0.9]])
    drawn = grid(values, scale=Scale("v", midpoint=0, high=0.5)).data[0]
    assert (drawn.zmin, drawn.zmax) == (-0.5, 0.5)
    with pytest.raises(ValueError, match="do not lie as far from the midpoint"):
        Scale("v", 0, 1, midpoint=0.2)


def test_more_classes_than_looks_are_refused():
    classes = np.array([f"c{n:02d}" for n in range(57)])
    points = np.zeros((57, 2))
    with pytest.raises(ValueError, match="57 classes, and colours and symbols tell 56 apart"):
        scatter(points, classes, title="t")
    assert (
        len(
            {
                (t.marker.color, t.marker.symbol)
                for t in scatter(points[:56], classes[:56], title="t").data
            }
        )
        == 56
    )


# --- over the depths of a model ------------------------------------------------------------------

DEPTHS = ("embedding", "block 0", "block 1", "final norm")


def test_a_map_of_depths_marks_the_quarters_of_the_blocks():
    figure = depth_map(
        scores(4, 3), DEPTHS, "abc", title="t", scale=Scale("c"), position_title="word"
    )
    assert {"25 %", "50 %", "75 %"} <= set(texts(figure))
    assert figure.layout.xaxis.title.text == "word" and figure.layout.yaxis.title.text == "depth"


def test_curves_over_depths_show_blocks_by_number_within_their_range():
    figure = depth_lines({"a": np.arange(4.0)}, DEPTHS, title="t", y_title="y", y_range=(-1, 1))
    assert figure.layout.xaxis.ticktext == ("emb", "0", "1", "norm")
    assert figure.layout.yaxis.range == (-1, 1)


def test_maps_of_a_grid_dot_what_survives_and_refuse_what_it_has_not():
    rng = np.random.default_rng(0)
    labels = np.arange(60.0) % 12
    angle = 2 * np.pi * labels / 12
    circle = 5 * np.column_stack([np.cos(angle), np.sin(angle)]) @ rng.normal(size=(2, 8))
    blocks = [(name, rng.normal(size=(2, 60, 8))) for name in DEPTHS]
    blocks[1][1][1] += circle
    options = {"groups": np.arange(60), "period": 12, "resampling": Resampling(39)}
    options |= {"workers": Workers(n_jobs=1, progress=False)}
    orders = {"order": rng.permuted(np.tile(labels, (20, 1)), axis=1)}
    grid = smds_grid(blocks, labels, leave_out=labels, controls=orders, **options)
    score = score_map(grid, DEPTHS, "xy", title="t", references={"null": 0.0, "table": 1.2})
    assert (score.data[0].zmin, score.data[0].zmax) == (0.0, 1.2)
    (dots,) = traces(score, name="survives max-T correction at 5 %")
    assert list(zip(dots.x, dots.y, strict=True)) == [(1, 1)]
    order = order_map(grid, "order", DEPTHS, "xy", title="t")
    np.testing.assert_array_equal(order.data[0].z, grid.against["order"].z)
    left = left_out_map(grid, DEPTHS, "xy", title="t", references={"table": -3.0})
    assert np.min(left.data[0].z) >= -1 and np.max(left.data[0].z) == grid.leave_out.r2[1, 1]
    reuse = smds_grid(blocks, labels, fit=Fit(source=1), **options)
    agreement_map = reuse_map(reuse, DEPTHS, "xy", title="t")
    np.testing.assert_array_equal(agreement_map.data[0].z, reuse.reuse.observed)
    with pytest.raises(ValueError, match="no categories were left out"):
        left_out_map(reuse, DEPTHS, "xy", title="t", references={})
    with pytest.raises(ValueError, match="a map of its own"):
        reuse_map(grid, DEPTHS, "xy", title="t")
