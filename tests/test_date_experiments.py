"""The experiments that follow detection: verdicts on planes, maps and figures that were planted."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from planted_texts import (
    CONFIG,
    RADIUS,
    ROWS,
    SHOWN,
    Planted,
    directions,
    few_words,
    figure,
    lookup_table,
)

from interp.claims import Claim, judged
from interp.smds import ideal_coordinates
from interp.study import Part
from studies.date_manifold.circle import ring
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import detection, rigidity
from studies.date_manifold.geometry import binding, planes, reuse, shapes

N = 240
RAW = dataclasses.replace(CONFIG, standardise="none")


@cache
def _dates() -> Dataset:
    return few_words("birthday", N)


def _verdict(claim: Claim) -> str:
    """By itself: 40 permutations leave no p that a correction over findings would let pass."""
    return judged([claim])[0].verdict


def _claim(part: Part, beginning: str) -> Claim:
    (claim,) = (claim for claim in part.claims if claim.statement.startswith(beginning))
    return claim


# --- experiment 2: planes ------------------------------------------------------------------------


def _planes(seeds: tuple[int, ...]) -> Part:
    """Experiment 2 with a circle at source and destination, in the planes of these seeds."""
    data = _dates()
    words = (data.source, data.destination)
    planted = {w: figure(data, seed=seed) for w, seed in zip(words, seeds, strict=False)}
    return Planted(data, planted).ask(planes)


def test_one_plane_at_two_words_is_called_one_plane():
    part = _planes((1, 1))
    (claim,) = part.claims
    assert _verdict(claim) == "supported"
    # sampling carries the corrected similarity a little to both sides of 1
    assert claim.estimate == pytest.approx(1, abs=0.03)
    assert part.row["same plane, [month] and birthday"] == claim.estimate
    assert part.row["same plane, [month] and birthday: p"] == 1 / (CONFIG.permutations + 1)
    table = part.tables["planes"].set_index(["first", "second"])
    assert len(table) == 10 and table.loc[("[month]", "birthday")].corrected == claim.estimate


def test_two_planes_at_two_words_are_not_called_one():
    (claim,) = _planes((1, 2)).claims
    assert _verdict(claim) == "undecided"
    assert claim.estimate is not None and claim.estimate < 0.5


def test_words_without_a_pattern_are_not_compared():
    part = _planes(())
    (claim,) = part.claims
    assert _verdict(claim) == "not testable here" and claim.estimate is None
    assert np.isnan(part.row["same plane, [month] and birthday"])


def test_the_figure_of_planes_boxes_the_pair_and_leaves_the_diagonal_undefined():
    similarity, cosine = (block.figure for block in _planes((1, 1)).sections[0].body)
    pair = {(shape.x0 + 0.5, shape.y0 + 0.5) for shape in similarity.layout.shapes}
    assert pair == {(1, 4), (4, 1)}
    for drawn in (similarity, cosine):
        values, hover = drawn.data[0].z, np.array(drawn.data[0].hovertext)
        assert np.isnan(np.diag(values)).all()
        assert all(text.endswith("undefined: the word itself") for text in np.diag(hover))
        assert np.isfinite(values[1, 4]) and values[1, 4] == values[4, 1]
        assert hover[0, 1].endswith("undefined: constant")


# --- experiment 3: reuse -------------------------------------------------------------------------


@cache
def _reused(*, same: bool, scale: float) -> tuple[Planted, Part]:
    """Experiment 3 with a circle at the source and one of another offset and scale at the
    destination, in the same plane or in one at right angles."""
    data, axes = _dates(), directions(4)
    circle, plane = RADIUS * data.ideal(), axes[:2] if same else axes[2:]
    planted = {data.source: circle @ axes[:2], data.destination: scale * circle @ plane + 40}
    subject = Planted(data, planted)
    return subject, subject.ask(reuse)


def test_a_map_is_found_where_its_plane_is_whatever_the_scale_and_offset():
    subject, part = _reused(same=True, scale=3)
    (claim,) = part.claims
    assert _verdict(claim) == "supported"
    assert claim.estimate == part.row["map of [month] at birthday: agreement"]
    assert claim.estimate is not None and claim.estimate > 0.9
    # a map of the word's own, from 160 rows of 24 features, is hardly the better one
    own = subject.ask(detection).grid.score[SHOWN, 4, 0]
    assert claim.controls["score of the borrowed map"] == pytest.approx(own, abs=0.05)
    table = part.tables["reuse"]
    survivors = table[table.reused][["depth", "word"]].to_numpy().tolist()
    assert survivors == [[ROWS[SHOWN], "[month]"], [ROWS[SHOWN], "birthday"]]
    assert set(table[table.word == "[name]"].status) == {"constant"}


def test_a_circle_in_another_plane_is_found_by_its_own_map_and_not_called_reuse():
    subject, part = _reused(same=False, scale=1)
    (claim,) = part.claims
    assert subject.ask(detection).grid.survives()[SHOWN, 4]
    assert _verdict(claim) == "undecided"
    assert float(claim.controls["score of its own map at birthday"]) > 0.8
    assert claim.estimate is not None and abs(claim.estimate) < 0.5


def test_a_map_is_never_scored_on_the_rows_it_was_fitted_on():
    """Fitted on them, noise of more dimensions than rows would score 1 at the source."""
    part = Planted(few_words("birthday", 60), {}, d=200).ask(reuse)
    assert _verdict(part.claims[0]) == "undecided"
    at_source = part.tables["reuse"].query("word == '[month]'")
    # within five standard deviations of the null, and that of isotropic predictions is .397
    assert at_source.agreement_z.abs().max() < 5 and (at_source.score < 0.45).all()
    assert not at_source.reused.any()


# --- experiment 4: rigidity and roundness --------------------------------------------------------


def _rigidity(cell: np.ndarray, *, config=CONFIG) -> tuple[Planted, Part]:
    data = _dates()
    subject = Planted(data, {data.source: cell}, config=config)
    return subject, subject.ask(rigidity)


LEAST = "at least (95 %, of the table's scatter)"
RIGID, ROUND = "What a projection that cannot stretch", "How round the ring of months is at [month]"


def test_a_circle_without_nuisance_is_rigid_and_round():
    subject, part = _rigidity(figure(_dates()))
    rigid = _claim(part, RIGID)
    assert rigid.estimate is not None and rigid.estimate > 0.8
    part = subject.ask(ring)
    claim = _claim(part, ROUND)
    assert claim.estimate is not None and claim.estimate > 0.85
    assert part.row["axis ratio at [month]"] == claim.estimate
    elsewhere = _claim(part, "How round the ring of months is at birthday")
    assert elsewhere.controls[LEAST] == 0
    assert set(part.tables["roundness"].word) == {"[month]", "birthday"}


def test_neither_an_ellipse_nor_a_table_is_round():
    data = _dates()
    ellipse = data.ideal() * [RADIUS, RADIUS / 4] @ directions(2)
    part = Planted(data, {data.source: ellipse}, config=RAW).ask(ring)
    assert _claim(part, ROUND).estimate == pytest.approx(1 / 4, abs=0.1)
    part = Planted(data, {data.source: lookup_table(data)}, config=RAW).ask(ring)
    table = _claim(part, ROUND)
    assert table.controls[LEAST] == 0


def test_nuisance_hides_a_circle_from_a_rigid_projection_and_leaves_it_round():
    nuisance = 12 * np.random.default_rng(6).standard_normal((N, 16)) @ directions(16, seed=7)
    subject, part = _rigidity(figure(_dates()) + nuisance, config=RAW)
    assert subject.ask(detection).grid.survives()[SHOWN, 1]
    rigid = _claim(part, RIGID)
    assert float(rigid.controls["ridge regression"]) > 0.7
    assert rigid.estimate is not None and rigid.estimate < 0.5
    assert float(_claim(subject.ask(ring), ROUND).controls[LEAST]) > 0.5


def test_a_line_has_no_roundness():
    data = few_words("age", 120)
    subject = Planted(data, {data.source: figure(data)})
    part = subject.ask(rigidity)
    assert subject.ask(ring) == Part()
    (claim,) = part.claims
    assert claim.statement.startswith(RIGID) and set(part.tables) == {"rigidity"}


# --- which shape? --------------------------------------------------------------------------------


def test_a_planted_circle_is_discovered_and_noise_is_no_circle():
    data = _dates()
    part = Planted(data, {data.source: figure(data)}).ask(shapes)
    at_source, at_destination = part.claims
    decided = "leads every other beyond its limits"
    assert (at_source.controls[decided], at_destination.controls[decided]) == ("yes", "no")
    assert part.row["best shape at [month]"] == "circular"
    table = part.tables["shapes"]
    tried = {"circular", "linear", "semicircular", "spiral", "log_linear", "month clusters"}
    assert set(table["shape"]) == tried and len(table) == 2 * len(tried)


def test_a_constant_word_is_asked_nothing():
    part = Planted(dataclasses.replace(_dates(), destination="[name]"), {}).ask(shapes)
    assert part.claims[1].estimate is None and "constant" in part.claims[1].reason


# --- two people ----------------------------------------------------------------------------------


def _bound(*, bag: bool) -> Part:
    """Binding with the asked date at the destination, and in a bag the other's beside it."""
    data = few_words("birthday", N, people=2)
    assert data.other is not None
    axes = directions(4)
    cell = RADIUS * data.ideal() @ axes[:2]
    if bag:
        cell += RADIUS * ideal_coordinates(data.other, period=data.period) @ axes[2:]
    return Planted(data, {data.destination: cell}).ask(binding)


def test_the_asked_date_alone_is_recall():
    part = _bound(bag=False)
    (claim,) = part.claims
    assert claim.estimate is not None and claim.estimate > 0.7
    assert claim.controls["R2 of the asked date"] > 0.8
    assert claim.controls["R2 of the other date"] < 0.1
    asked = part.row["R2 of the asked date at birthday"]
    assert asked == pytest.approx(claim.controls["R2 of the asked date"], abs=1e-6)


def test_a_bag_of_both_dates_is_not_recall():
    (claim,) = _bound(bag=True).claims
    assert claim.estimate is not None and abs(claim.estimate) < 0.1
    asked, other = (claim.controls[f"R2 of the {whose} date"] for whose in ("asked", "other"))
    assert min(asked, other) > 0.8
    assert claim.estimate == pytest.approx(asked - other)
