"""Each question's own command: what the scripts and notebooks that came before were run for."""

import html
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tiny_models import tiny_hf, tiny_tokenizer
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from interp.run import FinishedRun, Run

STUDIES = Path(__file__).parent.parent / "studies"
TALK = "\n".join(
    f"{'Alice' if turn % 2 else 'Bob'}: I think {word} will be like the last one."
    for turn, word in enumerate("rain wind snow hail frost mist dew sleet fog ice sun heat".split())
)
"""One conversation of two speakers by turns, as the notebook had it."""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("models")
    for name, seed in (("base", 0), ("tuned", 1)):
        hf = tiny_hf("llama", seed=seed, max_position_embeddings=512)
        hf.save_pretrained(root / name)
        tiny_tokenizer("llama").save_pretrained(root / name)
    return str(root / "base"), str(root / "tuned")


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs a study as a shell would and holds it to the study's page; gives the run and the text of
    its report."""

    def run(study: str, *options: str) -> tuple[FinishedRun, str]:
        places = ["--device", "cpu", "--runs", str(tmp_path), "--store", str(tmp_path / "stores")]
        monkeypatch.setattr(sys, "argv", [study, *options, *places])
        runpy.run_module(f"studies.{study}", run_name="__main__", alter_sys=True)
        report = Path(capsys.readouterr().out.strip().splitlines()[-1])
        done, page = Run.open(report.parent), report.read_text(encoding="utf-8")
        assert not _missing(study, done, page, options)
        return done, page

    return run


def _missing(study: str, run: FinishedRun, page: str, options: tuple[str, ...]) -> list[str]:
    """What the page names beside the figures of the script that came before, and the run has not.

    A title in curly quotes is part of a heading, a figure's title or a question. What stands as
    code is a flag that was given, a file, a column, or a key of what is exported.
    """
    text = (STUDIES / study / "README.md").read_text(encoding="utf-8")
    table = text.split("**From the script it grew from.**")[1].strip().split("\n\n")[0]
    titles, codes = re.findall("“(.+?)”", table), re.findall("`(.+?)`", table)
    assert titles + codes
    drawn = re.findall(r'"title":\{"text":("(?:[^"\\]|\\.)*")', page)
    shown = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    cells = re.findall(r"<(?:h\d|th)\b[^>]*>(.*?)</(?:h\d|th)>", shown, flags=re.DOTALL)
    names = [json.loads(title) for title in drawn] + [html.unescape(cell) for cell in cells]
    asked = [claim["question"] for claim in run.results()["claims"]]
    files = {path.name for path in run.path.rglob("*")}
    columns = {c for path in run.path.glob("*.parquet") for c in run.table(path.stem)}
    exported = [json.loads(path.read_text()) for path in run.path.glob("export/*.json")]
    known = files | columns | set(options) | set(names) | {k for e in exported for k in _keys(e)}
    absent = [title for title in titles if not any(title in name for name in names + asked)]
    for code in codes:
        word = code.split()[0] if code.startswith("--") else code.strip("/")
        if word.replace("-N.", "-1.") not in known:
            absent.append(code)
    return absent


def _keys(value):
    """Every key of an object, however deep."""
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from _keys(inner)


def test_one_transcript_of_two_speakers_on_two_models(command, models, tmp_path):
    (tmp_path / "talk.txt").write_text(TALK)
    run, page = command(
        "speaker_role",
        "--model",
        *models,
        "--transcript",
        str(tmp_path / "talk.txt"),
        *"--permutations 40 --ablations 0 --folds 3 --jobs 1".split(),
    )
    for number in (1, 2):  # an accuracy for each depth and role, beside the notebook's own
        cells = run.table(f"cells-{number}")
        assert {"tag", "verb", "other", "last"} <= set(cells["cell"])
    naive = [c for c in run.results()["claims"] if "naive design" in c["question"]]
    assert len(naive) == 2 and all(claim["estimate"] is not None for claim in naive)
    assert all(
        words in page for words in ("Naive: one transcript", "attention to the tags", *models)
    )


def test_dates_in_four_bits_with_the_score_along_the_text(command, models):
    run, page = command(
        "date_manifold",
        "--model",
        models[0],
        *"--quantise 4bit --n 60 --folds 2 --permutations 40 --interventions 0 --jobs 1".split(),
    )
    source = run.manifest["recorded"][f"model {models[0]}"]
    assert source["quantised"] == "4bit"
    assert "SMDS score along the text" in page and "At 25, 50 and 75 % of the depth." in page
    assert {"month", "birthday"} <= {word.strip("[]") for word in run.table("cells-1")["word"]}


def test_a_file_of_pairs_alone_gives_the_figures_of_alignment(command, models, tmp_path):
    rows = ["Chinese,English,category"]
    for number in range(24):
        kind = ("sum", "difference")[number % 2]
        rows.append(f"{kind} {number} 苹果,{kind} of {number} apples,{kind}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows), encoding="utf-8")
    run, page = command(
        "embedding_alignment",
        "--model",
        models[0],
        "--pairs",
        str(tmp_path / "pairs.csv"),
        *"--resamples 100 --folds 2".split(),
    )
    for title in (
        "How far pairs stand out from scrambled pairs",  # by pooling, the last token and the mean
        "What blocks add to the raw embedding",  # the first block, and the difference
        "How far apart the languages are along principal components",  # the language axis
        "Pairs joined",  # the texts in their main axes
    ):
        assert title in page
    shown = run.table("cells-1")
    assert {"last", "mean"} <= set(shown["pooling"])
    assert "within categories" in page  # the strata are those of the file


def test_the_trainer_of_readouts_by_its_flags_on_a_multimodal_model(command, tmp_path):
    text = json.loads(tiny_hf("gemma3").config.to_json_string(use_diff=False))
    width = {"hidden_size": 16, "intermediate_size": 16, "image_size": 28, "patch_size": 14}
    vision = width | {"num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    Gemma3ForConditionalGeneration(config).eval().save_pretrained(tmp_path / "model")
    tiny_tokenizer("gemma3").save_pretrained(tmp_path / "model")
    stories = tmp_path / "stories"
    stories.mkdir()
    for concept, words in {"joy": "sang loudly", "fear": "hid at home", "calm": "sat down"}.items():
        for name in "Ada Ben Cora Dan".split():
            scene = tmp_path / "paired" / name
            scene.mkdir(parents=True, exist_ok=True)
            (scene / f"{concept}.txt").write_text(f"{name} {words} that day.")
            (scene / "baseline.txt").write_text(f"{name} was there that day.")
        (stories / f"{concept}.txt").write_text(f"Somebody {words} for an hour.")
    run, _ = command(
        "concept_readout",
        "--model",
        str(tmp_path / "model"),
        "--stories-dir",
        str(stories),
        "--paired-dir",
        str(tmp_path / "paired"),
        *"--min-positives 3 --target-layers 0,2 --permutations 40 --directions 0".split(),
    )
    export = run.path / "export"
    readout = json.loads((export / "readout.json").read_text())
    assert readout["layers"] == [0, 2] and sorted(readout["concepts"]) == ["calm", "fear", "joy"]
    assert {"hidden_size", "dtype"} <= set(readout)
    quality = json.loads((export / "quality.json").read_text())
    assert {"contaminated", "fragmented", "redundant"} <= set(quality["triage"])
    assert {"head", "selectivity", "norm"} <= set(quality["heads"]["joy"]["heads"][0])
    judged = quality["blocks"]["2"]["joy"]
    assert set(judged["projection"]) == {"mean", "std", "min", "max"}
    assert {"mean", "std"} <= set(judged["alignment"])
    assert {"neurons", "nearest", "regression", "lowest"} <= set(judged)
    assert {"r2", "residual_norm", "coefficients"} <= set(judged["regression"])


def test_two_checkpoints_and_a_converted_file_of_components(command, models, tmp_path):
    rows = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 3)))[0].T.astype(np.float32)
    known = {"names": ["PC1", "PC2", "PC3"], "variance": [0.4, 0.2, 0.1], "block": 1}
    vectors = tmp_path / "components.safetensors"
    save_file({"vectors": rows.copy()}, vectors, metadata={"directions": json.dumps(known)})
    run, page = command(
        "attention_affinity",
        "--base",
        models[0],
        "--instruct",
        models[1],
        "--vectors",
        str(vectors),
        "--peer-compat",
    )
    table, notebook = run.table("affinity-1"), run.table("peer-1")
    assert {"base_z", "instruct_z", "difference_z"} <= set(table)
    assert {"base_z", "instruct_z", "difference_z", "block"} <= set(notebook)
    assert set(table["query"]) == set(known["names"])
    for title in ("Which heads", "Through the blocks", "As an earlier notebook computed it"):
        assert title in page
