"""A model with known behaviour: what it must know is found, what it cannot know is not."""

import copy

import numpy as np
import pytest
from trained_gpt2 import birthdays

from interp.extract import extract
from interp.model import load, resid_post, residual_stream
from interp.smds import smds_grid
from interp.stats import Resampling
from interp.store import by_position
from interp.tasks import Workers


@pytest.fixture(scope="module")
def grid(copying_gpt2):
    hf, tokenizer = copying_gpt2
    model = load(copy.deepcopy(hf), tokenizer=tokenizer)
    samples, days = birthdays(365, seed=3)
    got = extract(model, samples, hooks=residual_stream(model), batch_size=64, progress=False)
    scores = smds_grid(
        by_position(got),
        days.astype(np.float64),
        groups=days,
        period=365,
        resampling=Resampling(40),
        workers=Workers(n_jobs=1, progress=False),
    )
    return scores, got.positions, got.hooks


def test_the_birthday_carries_the_date_it_must_repeat(grid):
    scores, words, hooks = grid
    last = hooks.index(resid_post(1))
    assert scores.test.survives()[last, words.index("birthday"), 0]
    assert scores.kfold_r2[last, words.index("birthday")] > 0.8


def test_the_month_carries_the_date(grid):
    scores, words, hooks = grid
    first = hooks.index(resid_post(0))
    assert scores.kfold_r2[first, words.index("month")] > 0.8


def test_words_before_the_date_carry_nothing(grid):
    scores, words, _ = grid
    before = [words.index("name"), words.index("born")]
    assert not scores.test.survives()[:, before].any()
    # "born" is one vector in the embedding, whatever the name
    assert scores.status[0, words.index("born")] == "constant"
