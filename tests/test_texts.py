"""Categories of labels, and what texts know of theirs."""

import dataclasses

import numpy as np
import pytest

from interp.positions import Sample, find
from interp.texts import Categories, Texts

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEK = Categories(DAYS, np.arange(8.0), 7)


def test_a_label_has_the_category_between_whose_edges_it_lies():
    line = Categories(("low", "middle", "high"), np.array([0.0, 1.0, 10.0, 11.0]))
    assert line.of(np.array([0, 0.9, 1, 9.9, 10, 11])).tolist() == [0, 0, 1, 1, 2, 2]
    for outside in (-0.1, 11.1, np.nan):
        with pytest.raises(ValueError, match=r"of row 1 is in none of the categories, from 0.0"):
            line.of(np.array([5, outside]))


def test_equal_parts_leave_no_part_empty():
    labels = np.array([0.0, 1, 25, 50, 60])
    parts = Categories.equal_parts(labels, 6)
    assert parts.names == ("0 to 20", "20 to 50", "50 to 60")  # of six, three are empty
    assert parts.of(labels).tolist() == [0, 0, 1, 2, 2]
    week = Categories.equal_parts(np.arange(0, 7, 0.5), 7, period=7)
    assert week.edges.tolist() == list(range(8))  # the whole cycle, whatever its largest label


@pytest.mark.parametrize("period", [7, None])
def test_named_categories_stand_in_the_order_of_their_labels(period):
    labels = np.array([3.0, 0, 6, 1, 4, 2, 5])
    named = Categories.named(labels, np.array(DAYS)[labels.astype(int)], period=period)
    assert named.names == DAYS and named.edges.tolist() == list(range(8))
    with pytest.raises(ValueError, match=r"'a' \(0 to 2\) and 'b' \(1 to 1\) interleave"):
        Categories.named(np.array([0.0, 1, 2]), np.array(["a", "b", "a"]))


def test_shuffled_orders_are_never_the_true_one_and_keep_places():
    labels = np.arange(0, 7, 0.25)
    for shuffled in WEEK.shuffled_orders(labels, 200, seed=0):
        assert sorted(shuffled) == labels.tolist()
        assert np.ptp((shuffled - labels).reshape(7, 4), axis=1).max() == 0
        steps = np.diff(WEEK.of(shuffled[::4])) % 7
        assert not ((steps == 1).all() or (steps == 6).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": np.arange(3.0)}, "must be 8 rising numbers, for the 7 categories Mon"),
        ({"edges": np.arange(8.0)[::-1]}, "must be 8 rising numbers"),
        ({"names": DAYS[:3], "edges": np.arange(4.0)}, "no order that differs .* at least 4"),
        (
            {"names": DAYS[:2], "edges": np.arange(3.0), "period": None},
            "no order that differs .* at least 3",
        ),
    ],
)
def test_categories_without_an_order_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(WEEK, **change)


def _texts(**change) -> Texts:
    words = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"] * 2
    written = [(f"On {word} we met.", word) for word in words]
    samples = [Sample(t, {"day": find(t, w), "verb": find(t, "met")}) for t, w in written]
    given = {"samples": samples, "labels": np.arange(14.0) % 7, "period": 7.0,
             "categories": DAYS, "edges": np.arange(8.0)}  # fmt: skip
    return Texts(**given | change)


def test_texts_know_their_categories_and_how_they_are_written():
    texts = _texts()
    assert texts.category.tolist() == [*range(7), *range(7)]
    assert (texts.one_hot().argmax(axis=1) == texts.category).all()
    assert texts.written("day") == [sample.text.split()[1] for sample in texts.samples[:7]]
    # two categories of one form, and a category of many
    assert texts.written("verb") is None
    assert _texts(labels=np.arange(14.0).clip(max=6)).written("day") is None
    assert _texts(edges=None).fingerprint() != texts.fingerprint()
    with pytest.raises(ValueError, match="no edges of categories"):
        _texts(edges=None).category  # noqa: B018


@pytest.mark.parametrize("period", [0.0, -1.0, np.inf])
def test_a_cycle_without_a_length_is_refused(period):
    with pytest.raises(ValueError, match="must be a number above 0, or None"):
        _texts(period=period)
