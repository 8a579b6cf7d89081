"""The default real model: a pinned file, converted once, tokenized as its makers meant."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from interp.extract import extract
from interp.model import LOCAL_MODELS, conformance, fetch, load, residual_stream, source
from interp.model.__main__ import main
from interp.model._checkpoint import converted
from interp.model._source import hash_file
from interp.positions import Sample
from interp.smds import smds_grid
from interp.stats import Resampling
from interp.store import by_position
from interp.tasks import Workers
from studies.date_manifold.data import generate

NAME = "smollm2-135m-instruct-q4"


@pytest.fixture(scope="module")
def model():
    return load(NAME, device="cpu", check=False)


def test_the_file_is_the_pinned_one_and_is_fetched_once():
    path = fetch(NAME)
    assert hash_file(path) == LOCAL_MODELS[NAME].sha256
    written = path.stat().st_mtime_ns
    assert fetch(NAME) == path
    assert path.stat().st_mtime_ns == written
    directory = converted(path)
    assert directory.name == LOCAL_MODELS[NAME].sha256
    assert (directory / "model.safetensors").exists()


def test_a_damaged_download_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    import dataclasses

    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
    broken = dataclasses.replace(LOCAL_MODELS[NAME], obtain=lambda path: path.write_bytes(b"no"))
    monkeypatch.setitem(LOCAL_MODELS, NAME, broken)
    with pytest.raises(ValueError, match="expected SHA-256 b179c95.*the file has"):
        fetch(NAME)
    assert not any((tmp_path / "gguf").iterdir())
    with pytest.raises(
        ValueError, match="unknown local model 'gpt5'; choose from smollm2-135m-instruct-q4"
    ):
        fetch("gpt5")


def test_the_command_line_fetches_lists_and_describes(capsys):
    main(["fetch", NAME])
    assert capsys.readouterr().out.strip() == str(fetch(NAME))
    main(["list"])
    assert set(LOCAL_MODELS) <= set(capsys.readouterr().out.split())
    main(["points", NAME])
    shown = capsys.readouterr().out
    assert "hook_resid_post" in shown and "never fires" in shown and "z W_O + b_O" in shown


def test_the_real_model_conforms(model):
    report = conformance(model)
    assert report.passed, str(report)
    assert source(model).kind == "gguf"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # two spaces before a digit: without digit splitting they become two tokens
        ("  0. x", ["ĠĠ", "0", ".", "Ġx"]),
        ("in 1987", ["in", "Ġ", "1", "9", "8", "7"]),
    ],
)
def test_digits_are_split_and_no_bos_is_added(model, text, tokens):
    assert model.tokenizer.convert_ids_to_tokens(model.tokenizer(text).input_ids) == tokens
    assert model.to_tokens(text)[0].tolist() == model.tokenizer(text).input_ids


def test_it_knows_some_english(model):
    ids = model.to_tokens("The capital of France is")
    with torch.no_grad():
        assert model.tokenizer.decode(model(ids)[0, -1].argmax()) == " Paris"


def test_the_month_word_interpolates_a_month_it_never_saw(model):
    """Leave-one-month-out R2 above .4 somewhere between 25 and 75 % of the depth."""
    dates = generate("birthday", 240, seed=42)
    hooks = residual_stream(model)[8:24:5]
    # a causal model's month word does not see what follows it
    begun = [
        Sample(sample.text[: sample.spans["[month]"][1]], dict(list(sample.spans.items())[:8]))
        for sample in dates.samples
    ]
    got = extract(model, begun, hooks=hooks, positions=["[month]", "born"], progress=False)
    grid = smds_grid(
        by_position(got),
        dates.labels,
        groups=dates.groups,
        period=dates.period,
        resampling=Resampling(100),
        controls={"order": dates.shuffled_orders(20, seed=1)},
        leave_out=dates.category,
        workers=Workers(n_jobs=1, progress=False),
    )
    survives = grid.test.survives()[..., 0]
    assert survives[:, 0].all()
    assert not survives[:, 1].any()  # a word before the date
    assert np.max(grid.leave_out.r2[:, 0]) > 0.4


def test_the_readme_s_snippet_prints_what_the_readme_says(capsys):
    readme = Path(__file__).parent.parent / "README.md"
    (code,) = re.findall(r"```python\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.strip() == "(2, 1, 576)"
    assert "# (2, 1, 576)" in code
