"""What is stamped is compared when it is read, and ranks of another world are kept out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import TEXTS, tiny_bridge

import interp.store._shards as shards
from interp.extract import extract
from interp.extract._job import Job, plan_for
from interp.extract._rank import rank_of_environment
from interp.extract._worker import Worker
from interp.files import sha256
from interp.model import resid_post, source
from interp.plan import Rank
from interp.positions import Sample
from interp.store import SAMPLES, Locked, Store, Writer, inspect

HOOK = resid_post(1)
SAMPLE_LIST = [Sample(f"{text} {i}", {"w": (0, 3)}) for i, text in enumerate(TEXTS * 10)]


@pytest.fixture(scope="module")
def model():
    return tiny_bridge("gpt2")


@pytest.fixture(scope="module")
def plan(model):
    made = plan_for(model, source(model), SAMPLE_LIST, [HOOK], None, "last", None)
    return replace(made, shard_size=16)


def written(model, plan, path):
    with Writer(path, plan, {}) as writer:
        for shard in writer.pending:
            writer.done(shard, Worker(model, Job(SAMPLE_LIST, plan, 16)).write(shard, path))
        return writer.finish()


def rewrite(path, name, change):
    content = json.loads((path / name).read_text())
    change(content)
    (path / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: rewrite(p, "manifest.json", lambda m: m["plan"].update(format=9)), "format 9"),
        (
            lambda p: rewrite(p, "manifest.json", lambda m: m["plan"].update(texts="0" * 64)),
            "not that of its plan.json",
        ),
        (lambda p: rewrite(p, "manifest.json", lambda m: m["plan"].pop("rules")), "rules differ"),
        (lambda p: rewrite(p, "manifest.json", lambda m: m["shards"].pop()), "2 shards in its"),
    ],
)
def test_a_manifest_of_something_else_is_refused(model, plan, tmp_path, change, message):
    written(model, plan, tmp_path)
    change(tmp_path)
    with pytest.raises(ValueError, match=message):
        Store.open(tmp_path)


def test_an_unfinished_store_of_another_format_is_refused(model, plan, tmp_path):
    written(model, plan, tmp_path)
    rewrite(tmp_path, "plan.json", lambda content: content.update(format=0))
    with pytest.raises(ValueError, match="format 0, and this version reads format 1"):
        inspect(tmp_path)


@pytest.mark.parametrize("what", ["twice", "beyond", "dtype", "short"])
def test_shards_that_do_not_hold_their_samples_are_refused(model, plan, tmp_path, what):
    store = written(model, plan, tmp_path)
    file = tmp_path / store.shards[0]["file"]
    tensors = load_file(file)
    if what == "twice":
        tensors[SAMPLES][0] = tensors[SAMPLES][1]
    elif what == "beyond":
        tensors[SAMPLES][0] = 10_000
    elif what == "dtype":
        tensors[HOOK] = tensors[HOOK].to(torch.bfloat16)
    else:
        tensors = {name: t[:-1] for name, t in tensors.items()}
    save_file(tensors, file)

    def told(manifest):  # as a writer with a fault would have it
        manifest["shards"][0].update(sha256=sha256(file), bytes=file.stat().st_size)

    rewrite(tmp_path, "manifest.json", told)
    with pytest.raises(ValueError, match="corrupt shard"):
        Store.open(tmp_path).read(HOOK)


def test_a_task_that_is_submitted_alone_leaves_live_ranks_alone(model, plan, tmp_path, monkeypatch):
    again = rank_of_environment(
        {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MIN": "3"}
    )
    assert again == Rank(0, 1)
    refused, save = [], shards.save_file

    def slow(*args, **kwargs):  # while rank 1 of 2 writes, the task comes in
        save(*args, **kwargs)
        with pytest.raises(Locked, match="rank 0 of 1.*submit the whole array again"):
            Writer(tmp_path, plan, {}, rank=again).__enter__()
        refused.append(True)

    with Writer(tmp_path, plan, {}, rank=Rank(1, 2)) as own:
        monkeypatch.setattr(shards, "save_file", slow)
        own.done(
            own.pending[0],
            Worker(model, Job(SAMPLE_LIST, plan, 16)).write(own.pending[0], tmp_path),
        )
        monkeypatch.setattr(shards, "save_file", save)
        with Writer(tmp_path, plan, {}, rank=Rank(0, 2)) as sibling:
            assert sibling.pending == [0, 2]
    assert refused
    with Writer(tmp_path, plan, {}, rank=again) as alone:  # nobody else is at work
        assert alone.pending == [0, 2]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "1",
            },
            "without gaps",
        ),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "no rank of a world"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "no whole number"),
        ({"RANK": "1"}, "without WORLD_SIZE"),
    ],
)
def test_variables_that_are_no_rank_say_what_to_do(environment, message):
    with pytest.raises(ValueError, match=message):
        rank_of_environment(environment)


def test_what_is_read_back_is_what_was_computed(model, plan, tmp_path):
    got = written(model, plan, tmp_path).read(HOOK)
    memory = extract(model, SAMPLE_LIST, hooks=HOOK, progress=False).read(HOOK)
    np.testing.assert_allclose(got, memory, atol=1e-5)
