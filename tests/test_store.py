"""A store says what is wrong with it, keeps a second writer out, and lives behind an address."""

import json
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from recorded_model import files, samples
from safetensors.torch import load_file, save_file
from tiny_models import tiny_bridge, tiny_hf, tiny_tokenizer
from upath import UPath

from interp.extract import Stores, extract
from interp.extract import _job as job
from interp.files import place, sha256
from interp.model import load, resid_post
from interp.plan import Rank
from interp.run import StudyConfig, parse
from interp.store import Locked, Store, Writer, inspect
from interp.store import _lock as lock
from interp.store.__main__ import main

TEXTS = samples(40)
HOOKS = [resid_post(0), resid_post(2)]
MIDDLE = "shard-00001.safetensors"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(job, "SHARD_BYTES", 1)  # 16 samples a shard, the least


@pytest.fixture(scope="module")
def bridge():
    return tiny_bridge("llama")


@pytest.fixture
def take(bridge):
    """An extraction of three shards."""
    return partial(extract, bridge, TEXTS, hooks=HOOKS, progress=False)


@pytest.fixture
def unfinished(take, tmp_path, monkeypatch):
    """The first two shards of three, by a run that was broken off."""
    plain = Writer.done

    def done(self, shard, row):
        plain(self, shard, row)
        if shard == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "done", done)
        with pytest.raises(KeyboardInterrupt):
            take(out=tmp_path / "s")
    return tmp_path / "s"


def _flip(file: Path, bit: int = 1) -> None:
    data = bytearray(file.read_bytes())
    data[-5] ^= bit  # of an activation
    file.write_bytes(data)


# --- what is wrong with a store ------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "row missing", "row torn"])
def test_a_bad_shard_of_an_unfinished_store_is_found_and_recomputed(
    take, unfinished, tmp_path, damage, capsys
):
    expected = files(take(out=tmp_path / "expected").path)
    victim, other = unfinished / MIDDLE, unfinished / "shard-00000.safetensors"
    written = other.stat().st_mtime_ns
    row = victim.with_suffix(".json")
    {
        "flipped": lambda: _flip(victim),
        "truncated": lambda: victim.write_bytes(victim.read_bytes()[:-100]),
        "missing": victim.unlink,
        "row missing": row.unlink,
        "row torn": lambda: row.write_text(row.read_text()[:20]),
    }[damage]()
    assert main(["verify", str(unfinished)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told[:-1]] == [MIDDLE, "shard-00002.safetensors"]
    assert told[1].endswith("missing") and "unfinished, 1 of 3 shards whole" in told[-1]
    take(out=unfinished)
    assert files(unfinished) == expected
    assert other.stat().st_mtime_ns == written


def test_verify_holds_a_complete_store_to_its_manifest(take, tmp_path, capsys):
    store = take(out=tmp_path / "s")
    before = files(store.path)
    assert main(["verify", str(store.path)]) == 0
    assert "complete, 3 of 3 shards whole" in capsys.readouterr().out
    _flip(store.path / MIDDLE)
    assert main(["verify", str(store.path)]) == 1
    assert capsys.readouterr().out.startswith(f"{MIDDLE}: its SHA-256 is not")
    (store.path / MIDDLE).unlink()
    with pytest.raises(ValueError, match=f"corrupt shard .*{MIDDLE}: missing. Run the extraction"):
        Store.open(store.path)
    written = (store.path / "shard-00002.safetensors").stat().st_mtime_ns
    take(out=store.path)
    assert files(store.path) == before
    assert (store.path / "shard-00002.safetensors").stat().st_mtime_ns == written


def test_the_repair_of_a_complete_store_may_be_broken_off(take, tmp_path, monkeypatch):
    store = take(out=tmp_path / "s")
    before = files(store.path)
    _flip(store.path / MIDDLE)
    with monkeypatch.context() as patch:
        patch.setattr("interp.store._shards.save_file", lambda *_, **__: os.kill(0, "no signal"))
        with pytest.raises(TypeError):
            take(out=store.path)
    with pytest.raises(ValueError, match="an unfinished store"):  # as it does not pass for whole
        Store.open(store.path)
    assert list(inspect(store.path).problems) == [MIDDLE]
    written = (store.path / "shard-00002.safetensors").stat().st_mtime_ns
    take(out=store.path)
    assert files(store.path) == before
    assert (store.path / "shard-00002.safetensors").stat().st_mtime_ns == written


def test_info_tells_what_is_in_a_store(take, unfinished, capsys):
    assert main(["info", str(unfinished)]) == 0
    told = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    told = {label.strip(): value.strip() for label, value in told.items()}
    assert told["model"] == "LlamaForCausalLM"
    assert told["samples"] == "40" and told["positions"] == "month (last), place (last)"
    assert told["hooks"] == f"[32]: {', '.join(HOOKS)}"
    assert told["shards"] == "2 of 3, up to 16 samples each" and told["complete"] == "no"
    take(out=unfinished)
    main(["info", str(unfinished)])
    assert "3 of 3" in (text := capsys.readouterr().out) and "complete     yes" in text
    assert main(["info", str(unfinished.parent)]) == 1
    assert "holds no store" in capsys.readouterr().err


def test_a_refusal_says_what_changed(tmp_path):
    for name, seed in (("old", 0), ("new", 1)):
        tiny_hf("llama", seed=seed).save_pretrained(tmp_path / name)
        tiny_tokenizer("llama").save_pretrained(tmp_path / name)
    old, new = (load(tmp_path / name, device="cpu") for name in ("old", "new"))
    take = partial(extract, out=tmp_path / "s", progress=False)
    take(old, TEXTS, hooks=HOOKS)
    kept = files(tmp_path / "s")
    half = load(tmp_path / "old", device="cpu", dtype=torch.bfloat16)
    for model, texts, options, message in [
        (new, TEXTS, {}, r": model changed \(model.safetensors \w{8}... -> \w{8}...\)\. Choose"),
        (half, TEXTS, {}, r"model changed \(dtype float32 -> bfloat16\); dtype changed \(float"),
        (old, samples(39) + samples(1), {}, r"else: texts or spans changed\. Choose"),
        (old, TEXTS[1:], {}, r"else: texts or spans changed; n_samples changed \(40 -> 39\)\."),
        (old, TEXTS, {"hooks": HOOKS[1:]}, r": hooks changed \(without blocks.0.hook_resid_post"),
        (old, TEXTS, {"rule": "first"}, r"else: rules changed \(\['last', 'last'\] -> \['first', "),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            take(model, texts, **{"hooks": HOOKS} | options)
    assert files(tmp_path / "s") == kept


# --- one writer ----------------------------------------------------------------------------------


def _hold(path, plan, origin, rank, ready) -> None:
    with Writer(path, plan, origin, rank=rank):
        ready.set()
        time.sleep(60)


@pytest.fixture
def holder(take, tmp_path):
    """Starts a process that writes a store, and lasts until it is killed."""
    another = take(out=tmp_path / "another")
    fork = multiprocessing.get_context("fork")
    started = []

    def start(path: Path, rank: Rank | None = None):
        ready = fork.Event()
        started.append(
            fork.Process(target=_hold, args=(path, another.plan, another.source, rank, ready))
        )
        started[-1].start()
        assert ready.wait(30)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.join()


def test_a_second_writer_is_refused_until_the_first_is_gone(take, holder, tmp_path):
    first = holder(tmp_path / "s")
    with pytest.raises(
        Locked, match=rf"s is being written by .*process {first.pid} on .*, since 2"
    ):
        take(out=tmp_path / "s")
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    store = take(out=tmp_path / "s")  # nothing stale is in the way
    assert files(store.path) == files(tmp_path / "another")


def test_ranks_write_side_by_side_and_nobody_else(take, holder, tmp_path, monkeypatch):
    path = tmp_path / "s"
    first = holder(path, Rank(0, 3))
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(Locked, match=f"rank 0 of 3, process {first.pid} on"):
        take(out=path, executor="rank")
    with pytest.raises(Locked, match=f"rank 0 of 3, process {first.pid} on"):
        take(out=path)
    for rank in "12":
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(RuntimeError, match=f"rank {rank} of 3: its 1 shards are done"):
            take(out=path, executor="rank")
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    alone = holder(path)
    with pytest.raises(Locked, match=f"by another process: process {alone.pid} on"):
        take(out=path, executor="rank")
    alone.kill()
    alone.join()
    take(out=path)
    assert files(path) == files(tmp_path / "another")


def test_a_file_system_without_locks_is_told_of(take, tmp_path, monkeypatch):
    def flock(_file, _kind):
        raise OSError(38, "Function not implemented")  # as Lustre mounted without them does

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="has no locks .*nothing keeps a second writer out"):
        store = take(out=tmp_path / "s")
    store.verify()


# --- behind an address ---------------------------------------------------------------------------


@pytest.fixture
def address():
    path = UPath("memory://bucket/stores")
    yield str(path)
    if path.exists():
        path.fs.rm(path.parent.path, recursive=True)


def test_a_store_behind_an_address_is_like_one_on_disk(take, tmp_path, address):
    local = take(out=tmp_path / "{key}")
    remote = take(out=f"{address}/{{key}}")
    assert str(remote.path) == f"{address}/{local.path.name}"
    assert files(remote.path) == files(local.path)
    opened = Store.open(f"{address}/{local.path.name}")
    for hook in HOOKS:
        assert (opened.read(hook) == local.read(hook)).all()
    through_file = take(out=f"file://{tmp_path}/there")
    assert through_file.path == tmp_path / "there"
    assert files(through_file.path) == files(local.path)

    # an upload that was cut short, with its row in place
    victim = remote.path / MIDDLE
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(ValueError, match="corrupt shard memory://"):
        Store.open(remote.path)
    assert main(["verify", str(remote.path)]) == 1
    take(out=remote.path).verify()
    assert files(remote.path) == files(local.path)


def test_reading_one_hook_fetches_that_hook(take, address, monkeypatch):
    store = take(out=address)
    fetched, fs = [], store.path.fs
    plain = type(fs).cat_file

    def cat_file(self, path, start=None, end=None, **kwargs):
        data = plain(self, path, start=start, end=end, **kwargs)
        fetched.append(len(data))
        return data

    monkeypatch.setattr(type(fs), "cat_file", cat_file)
    monkeypatch.setattr("interp.store._shards.HEAD", 100)  # less than a header has
    found = store.read(HOOKS[0])
    tensor = 4 * found.size + 8 * len(found)
    headers = sum(fetched) - tensor
    whole = sum(row["bytes"] for row in store.shards)
    assert 0 < headers < 2 * (whole - 2 * 4 * found.size)  # read for both tensors, of each shard
    assert max(fetched) <= 16 * 2 * 32 * 4


def test_a_lease_keeps_a_second_writer_out_while_it_is_renewed(take, address, monkeypatch):
    another = take(out="memory://bucket/another")
    plan, origin = another.plan, another.source
    with (
        Writer(UPath(address), plan, origin),
        pytest.raises(Locked, match=r"another process: process \d+ on .*a lease ends 120 s after"),
    ):
        take(out=address)
    assert [f.name for f in UPath(address).iterdir() if f.name.startswith(".lock")] == []
    with (
        Writer(UPath(address), plan, origin, rank=Rank(0, 2)),
        Writer(UPath(address), plan, origin, rank=Rank(1, 2)),
        pytest.raises(Locked, match="rank 0 of 2, .*; rank 1 of 2"),
    ):
        take(out=address)
    monkeypatch.setattr(lock, "LEASE", 0.4)
    with Writer(UPath(address), plan, origin):
        time.sleep(1)
        with pytest.raises(Locked):
            take(out=address)
    # of a writer that was killed
    (UPath(address) / ".lock").write_text(
        json.dumps({"owner": "process 1", "since": "then", "until": time.time() - 1})
    )
    assert files(take(out=address).path) == files(another.path)


def test_addresses_survive_the_command_line_and_paths_that_broke_them_do_not(tmp_path):
    config = parse(StudyConfig, ["--store", "s3://bucket/stores"], prog="x", description="")
    assert Stores.of(config).root == "s3://bucket/stores"
    assert Stores.of(StudyConfig(store=tmp_path)).root == tmp_path
    with pytest.raises(ValueError, match="s3:/bucket was an address .*give it as a string"):
        place(Path("s3://bucket"))
    assert place("~/x") == Path.home() / "x"
    assert place(f"file://{tmp_path}") == tmp_path


# --- stamps --------------------------------------------------------------------------------------


def _rewrite(path: Path, **changes) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | changes))


@pytest.fixture
def store(take, tmp_path):
    return take(out=tmp_path / "s")


def test_a_manifest_of_another_store_is_refused(take, store, tmp_path):
    other = take(out=tmp_path / "other", rule="first")
    (store.path / "manifest.json").write_bytes((other.path / "manifest.json").read_bytes())
    for look in (Store.open, inspect, lambda path: take(out=path)):
        with pytest.raises(ValueError, match="its manifest is not that of its plan.json"):
            look(store.path)


def _shard(store: Store, tensors: dict, stamp: str | None) -> None:
    """The first shard anew, with a manifest that agrees with its bytes."""
    file = store.path / "shard-00000.safetensors"
    save_file(tensors, file, metadata=None if stamp is None else {"shard": stamp})
    row = {"file": file.name, "sha256": sha256(file), "bytes": file.stat().st_size}
    rows = json.loads((store.path / "manifest.json").read_text())["shards"]
    _rewrite(store.path / "manifest.json", shards=[row, *rows[1:]])


@pytest.mark.parametrize("away", [False, True], ids=["disk", "address"])
def test_a_shard_is_held_to_the_plan_when_it_is_read(store, address, away):
    file = store.path / "shard-00000.safetensors"
    whole, stamp = load_file(file), f"0 of plan {store.plan.key()}"
    numbers = whole["sample_numbers"]
    for change, written, message in [
        ({}, None, "it is stamped None"),
        ({}, f"1 of plan {store.plan.key()}", "it is stamped '1 of plan"),
        ({}, f"0 of plan {'0' * 64}", "it is stamped '0 of plan 0000"),
        (
            {"sample_numbers": numbers.flip(0)[:5]},
            stamp,
            "its sample numbers are not those",
        ),
        (
            {"sample_numbers": numbers + 40},
            stamp,
            "its sample numbers are not those",
        ),
        (
            {"sample_numbers": numbers - 40},
            stamp,
            "its sample numbers are not those",
        ),
        ({"sample_numbers": numbers.float()}, stamp, "(its sample numbers|F32)"),
        ({"sample_numbers": numbers.clone().fill_(3)}, stamp, "is in it"),
        ({HOOKS[0]: whole[HOOKS[0]][:, :1]}, stamp, r"\[16, 1, 32\], planned \[16, 2, 32\]"),
        ({HOOKS[0]: whole[HOOKS[0]].bfloat16()}, stamp, r"torch.bfloat16"),
    ]:
        _shard(store, {name: t.contiguous() for name, t in (whole | change).items()}, written)
        opened = store.path
        if away:
            opened = UPath(address) / "s"
            opened.mkdir(parents=True, exist_ok=True)
            for name, content in files(store.path).items():
                (opened / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"corrupt shard .*{message}"):
            Store.open(opened).read(HOOKS[0])


def test_a_shard_of_another_store_is_computed_again(take, unfinished, tmp_path):
    """With its own record beside it, so that size and hash agree."""
    whole = take(out=tmp_path / "whole")
    other = take(out=tmp_path / "other", rule="first")
    file = unfinished / "shard-00000.safetensors"
    file.write_bytes((other.path / file.name).read_bytes())
    row = json.loads((other.path / "manifest.json").read_text())["shards"][0]
    file.with_suffix(".json").write_text(json.dumps(row))
    assert inspect(unfinished).problems[file.name].endswith("a shard of another store")
    assert files(take(out=unfinished).path) == files(whole.path)
