"""Extraction equals a plain forward pass, in memory and on disk, and survives being killed."""

import errno
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_model import finished
from safetensors import SafetensorError
from tiny_models import FAMILIES, tiny_bridge, tiny_hf, tiny_pair, tiny_tokenizer

from interp.extract import _call as call_module
from interp.extract import _job as job
from interp.extract import _worker as worker
from interp.extract import extract
from interp.intervene import steer
from interp.model import embed, final_norm, load, resid_post, residual_stream, z
from interp.positions import Aligned, Sample, align, find
from interp.store import Store, by_position
from interp.store import _shards as shards

NAMES = ("Ann", "Bartholomew", "Cy")


def _samples(n: int = 12) -> list[Sample]:
    texts = [f"{NAMES[i % 3]} was born on the {i + 1}th of June in Oslo{'!' * (i % 5)}" for i in range(n)]  # fmt: skip # noqa: E501
    return [
        Sample(t, {"day": find(t, "of June"), "month": find(t, "June"), "place": find(t, "Oslo")})
        for t in texts
    ]


def _reference(hf, family, sample, block):
    """The token of the month, one text at a time, from HuggingFace's own hidden states."""
    encoded = tiny_tokenizer(family)(sample.text, return_tensors="pt", return_offsets_mapping=True)
    stop = sample.spans["month"][1]
    token = max(
        i for i, (a, b) in enumerate(encoded["offset_mapping"][0].tolist()) if a < stop <= b
    )
    with torch.no_grad():
        states = hf(input_ids=encoded["input_ids"], output_hidden_states=True).hidden_states
    return states[block + 1][0, token].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_equal_one_text_at_a_time_of_huggingface(family):
    bridge, hf = tiny_pair(family)
    samples = _samples()
    got = extract(bridge, samples, hooks=[resid_post(1)], batch_size=5, progress=False)
    expected = np.stack([_reference(hf, family, s, block=1) for s in samples])
    found = got.read(resid_post(1))[:, got.positions.index("month")]
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_no_logits_and_no_later_block_are_computed():
    bridge = tiny_bridge("llama")
    ran = []
    for block in range(3):
        bridge.original_model.model.layers[block].register_forward_hook(
            lambda *_, block=block: ran.append(block)
        )
    bridge.original_model.lm_head.register_forward_hook(lambda *_: ran.append("logits"))
    extract(bridge, _samples(4), hooks=[resid_post(1)], progress=False)
    assert 2 not in ran and "logits" not in ran and 0 in ran
    ran.clear()
    extract(bridge, _samples(4), hooks=[final_norm()], progress=False)
    assert 2 in ran and "logits" not in ran


def test_extraction_leaves_the_model_as_it_was():
    bridge = tiny_bridge("qwen2")
    ids = bridge.tokenizer("Ann was born", return_tensors="pt").input_ids
    with torch.no_grad():
        before = bridge(ids)
        extract(bridge, _samples(4), hooks=[resid_post(0)], progress=False)
        assert torch.equal(bridge(ids), before)
    assert not any(point.fwd_hooks for point in bridge.hook_dict.values())


def test_rules_choose_last_first_or_mean():
    bridge = tiny_bridge("llama")
    hook, samples = resid_post(0), _samples(6)
    last, first, mean = (
        extract(bridge, samples, hooks=[hook], positions=["day"], rule=rule, progress=False)
        for rule in ("last", "first", "mean")
    )
    month = extract(bridge, samples, hooks=[hook], positions=["month"], progress=False)
    assert np.array_equal(last.read(hook), month.read(hook))  # "of June" ends with "June"
    assert not np.allclose(first.read(hook), last.read(hook))
    for row, sample in enumerate(samples):
        ids = bridge.tokenizer(sample.text, return_tensors="pt", return_offsets_mapping=True)
        start, stop = sample.spans["day"]
        inside = [
            i for i, (a, b) in enumerate(ids["offset_mapping"][0].tolist()) if a < stop and b > start and sample.text[a:b].strip()  # noqa: E501
        ]  # fmt: skip
        with torch.no_grad():
            _, cache = bridge.run_with_cache(ids["input_ids"])
        expected = cache[hook][0, inside].mean(0).numpy()
        # float32 sums in another order
        assert np.allclose(mean.read(hook)[row, 0], expected, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_several_stretches_are_read_as_one_position(family):
    """Against one text at a time, and the tokens found by hand."""
    bridge, hook = tiny_bridge(family), resid_post(1)
    samples = [
        # the second stretch stands first in the text, and "was born on the" between them is unread
        Sample(s.text, {"both": (s.spans["day"], find(s.text, s.text.split()[0]))})
        for s in _samples(7)
    ]
    read = {
        rule: extract(bridge, samples, hooks=[hook], rule=rule, batch_size=4, progress=False)
        for rule in ("last", "first", "mean")
    }
    single = extract(bridge, samples, hooks=[hook], rule="mean", batch_size=1, progress=False)
    for row, sample in enumerate(samples):
        encoded = bridge.tokenizer(sample.text, return_tensors="pt", return_offsets_mapping=True)
        wanted = {i for start, stop in sample.spans["both"] for i in range(start, stop)}
        places = [
            token
            for token, (start, stop) in enumerate(encoded["offset_mapping"][0].tolist())
            if any(i in wanted and not sample.text[i].isspace() for i in range(start, stop))
        ]
        assert places[-1] - places[0] >= len(places)  # they are scattered
        with torch.no_grad():
            _, cache = bridge.run_with_cache(encoded["input_ids"])
        values = cache[hook][0, places].numpy()
        for rule, expected in (
            ("last", values[-1]),
            ("first", values[0]),
            ("mean", values.mean(0)),
        ):
            # float32 sums in another order
            assert np.allclose(read[rule].read(hook)[row, 0], expected, atol=1e-5)
        assert np.allclose(single.read(hook)[row, 0], values.mean(0), atol=1e-5)


def test_a_hook_asked_for_twice_is_read_once_and_still_stops_the_pass():
    bridge, hook = tiny_bridge("llama"), resid_post(0)
    ran = []
    bridge.original_model.lm_head.register_forward_hook(lambda *_: ran.append("logits"))
    got = extract(bridge, _samples(3), hooks=[hook, hook], progress=False)
    assert got.hooks == (hook,)
    assert not ran


def test_heads_keep_their_axes():
    bridge = tiny_bridge("gemma2")
    got = extract(bridge, _samples(3), hooks=[z(1), embed()], progress=False)
    assert got.read(z(1)).shape == (3, 3, 4, 8)
    assert got.read(embed()).shape == (3, 3, 32)


def test_disk_equals_memory_and_streams_position_first(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "SHARD_BYTES", 1)  # 16 samples a shard, the least
    bridge, samples = tiny_bridge("gemma3"), _samples(40)
    hooks = residual_stream(bridge)
    memory = extract(bridge, samples, hooks=hooks, progress=False)
    store = extract(bridge, samples, hooks=hooks, out=tmp_path / "{key}", progress=False)
    assert store.path.name == store.plan.key()[:16]
    assert len(store.shards) == 3
    for hook in hooks:
        # shards are batched apart from one another, and a batch's width moves the last bits
        assert np.allclose(store.read(hook), memory.read(hook), rtol=1e-4, atol=1e-5)
    streamed = dict(by_position(store, hooks=hooks[:2], positions=["place", "day"]))
    assert list(streamed) == list(hooks[:2])
    assert np.array_equal(streamed[hooks[1]][0], store.read(hooks[1])[:, 2])
    store.verify()


def test_bfloat16_models_are_stored_as_such(tmp_path):
    bridge = load(tiny_hf("llama").to(torch.bfloat16), tokenizer=tiny_tokenizer("llama"))
    store = extract(bridge, _samples(3), hooks=[resid_post(0)], out=tmp_path / "s", progress=False)
    assert store.plan.dtype == "bfloat16"
    assert store.read(resid_post(0)).dtype == np.float32


# --- nothing lost --------------------------------------------------------------------------------

WORKER = """
import sys, time, torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from interp.extract import _job as job
from interp.extract import _worker as worker
from interp.extract import extract
from test_extract import _samples
from tiny_models import tiny_bridge
job.SHARD_BYTES = 1
plain = worker.forward
def slow(*args):
    time.sleep({pause})
    return plain(*args)
worker.forward = slow
hooks = ["blocks.1.hook_resid_post"]
extract(tiny_bridge("llama"), _samples(96), hooks=hooks, out={out!r}, progress=False)
"""


def _worker(out: Path, pause: float) -> subprocess.Popen:
    code = WORKER.format(tests=str(Path(__file__).parent), out=str(out), pause=pause)
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)


def _shards(path: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in path.glob("shard-*.safetensors")}


def test_killed_and_restarted_ends_with_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = _worker(whole, 0)
    victim = _worker(killed, 0.3)
    deadline = time.time() + 120
    # a shard is finished once its row stands beside it; killed in between, it was still in flight
    while len(finished(killed)) < 2 and time.time() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    survived = finished(killed)
    assert 2 <= len(survived) < 6
    with pytest.raises(ValueError, match="an unfinished store"):
        Store.open(killed)
    assert undisturbed.wait() == 0
    assert _worker(killed, 0).wait() == 0
    for name, (inode, written) in survived.items():  # finished shards are not computed again
        stat = (killed / name).stat()
        assert (stat.st_ino, stat.st_mtime_ns) == (inode, written)
    assert _shards(killed) == _shards(whole)
    assert (killed / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_a_corrupt_shard_is_named_and_recomputed(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "SHARD_BYTES", 1)
    bridge = tiny_bridge("llama")
    arguments = dict(hooks=[resid_post(1)], out=tmp_path / "s", progress=False)
    store = extract(bridge, _samples(40), **arguments)
    before = _shards(store.path)
    victim = store.path / "shard-00001.safetensors"

    damaged = bytearray(before[victim.name])
    damaged[-5] ^= 1  # one bit of an activation
    victim.write_bytes(damaged)
    with pytest.raises(ValueError, match="corrupt shard .*shard-00001.*SHA-256"):
        Store.open(store.path).verify()
    victim.write_bytes(before[victim.name][:-100])
    with pytest.raises(ValueError, match="corrupt shard .*shard-00001.*bytes where"):
        Store.open(store.path)
    victim.write_bytes(b"\xff" * len(before[victim.name]))
    with pytest.raises(ValueError, match="corrupt shard .*shard-00001.*Run the extraction again"):
        Store.open(store.path).read(resid_post(1))

    others = {f: f.stat().st_mtime_ns for f in store.path.glob("shard-*") if f != victim}
    extract(bridge, _samples(40), **arguments).verify()
    assert _shards(store.path) == before
    assert all(f.stat().st_mtime_ns == written for f, written in others.items())


def test_a_complete_store_is_opened_and_one_of_something_else_refused(tmp_path):
    bridge = tiny_bridge("llama")
    arguments = dict(hooks=[resid_post(1)], out=tmp_path / "s", progress=False)
    store = extract(bridge, _samples(4), **arguments)
    written = (store.path / "shard-00000.safetensors").stat().st_mtime_ns
    again = extract(bridge, _samples(4), **arguments)
    assert again.plan == store.plan
    assert (store.path / "shard-00000.safetensors").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match=r"texts or spans changed; n_samples changed \(4 -> 5\)"):
        extract(bridge, _samples(5), **arguments)
    with pytest.raises(ValueError, match=r"else: model changed \(parameters \w+... -> \w+...\)"):
        extract(tiny_bridge("llama", seed=1), _samples(4), **arguments)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="neither empty nor a store"):
        extract(bridge, _samples(4), hooks=[resid_post(1)], out=tmp_path / "mine", progress=False)


# what the operating system raises, and what safetensors makes of it on a full file system
FULL = (
    OSError(errno.ENOSPC, "No space left on device"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
)


@pytest.mark.parametrize("error", FULL, ids=["os", "safetensors"])
def test_a_full_disk_keeps_finished_shards_and_says_what_is_missing(tmp_path, monkeypatch, error):
    monkeypatch.setattr(job, "SHARD_BYTES", 1)
    bridge = tiny_bridge("llama")
    arguments = dict(hooks=[resid_post(1)], out=tmp_path / "s", progress=False)
    plain, calls = shards.save_file, []

    def full(tensors, path, **kwargs):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half a shard")
            raise error
        plain(tensors, path, **kwargs)

    monkeypatch.setattr(shards, "save_file", full)
    with pytest.raises(
        OSError, match="shard 1 of .* could not be written.*Finished shards are kept"
    ):
        extract(bridge, _samples(40), **arguments)
    assert sorted(f.name for f in (tmp_path / "s").iterdir()) == [
        "plan.json",
        "shard-00000.json",
        "shard-00000.safetensors",
    ]
    extract(bridge, _samples(40), **arguments).verify()
    assert len(calls) == 4  # shard 0 once, shard 1 twice, shard 2 once


def test_too_little_space_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 100})
    monkeypatch.setattr("interp.store._shards.shutil.disk_usage", lambda _path: usage)
    with pytest.raises(OSError, match=r"the store needs .* and .* has 0\.0 MB free"):
        extract(
            tiny_bridge("llama"), _samples(4), hooks=[resid_post(0)], out=tmp_path, progress=False
        )


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    code = """
import resource, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from interp.extract import _job as job
from interp.extract import _worker as worker
from interp.extract import extract
from test_extract import _samples
from tiny_models import tiny_bridge
job.SHARD_BYTES = 1_000_000
bridge = tiny_bridge("llama")
hooks = [f"blocks.{{b}}.attn.hook_{{n}}" for b in range(3) for n in "qkvz"]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
few, many = _samples(400), _samples(3000)
extract(bridge, few, hooks=hooks, out={out!r} + "/few", progress=False)
before = peak()
store = extract(bridge, many, hooks=hooks, out={out!r} + "/many", progress=False)
print(before, peak(), store.plan.bytes_per_sample() * 3000 // 1024)
"""
    code = code.format(tests=str(Path(__file__).parent), out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after, size = (int(word) for word in done.stdout.split())
    # 2,600 more samples are 8 MB more on disk, which would show if shards were kept
    assert size > 8_000
    assert after - before < size / 4


def test_reading_one_hook_maps_only_that_hook(tmp_path):
    code = """
import resource, sys
from interp.store import Store
store = Store.open({out!r})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
store.read("blocks.0.hook_resid_post")
print(peak() - before)
"""
    from safetensors.torch import save_file

    bridge = tiny_bridge("llama")
    hooks = [resid_post(0), resid_post(1)]
    store = extract(bridge, _samples(4), hooks=hooks, out=tmp_path / "s", progress=False)
    # the same store with one huge hook beside a small one
    file = store.path / "shard-00000.safetensors"
    huge = torch.zeros(4, 1, 25_000_000)  # 400 MB
    tensors = {
        "sample_numbers": torch.arange(4),
        resid_post(0): torch.zeros(4, 3, 32),
        resid_post(1): huge,
    }
    save_file(tensors, file, metadata={"shard": f"0 of plan {store.plan.key()}"})
    manifest = json.loads((store.path / "manifest.json").read_text())
    manifest["shards"][0]["bytes"] = file.stat().st_size
    (store.path / "manifest.json").write_text(json.dumps(manifest))
    code = code.format(out=str(store.path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50_000  # kB; the other hook alone is 400,000


def test_running_out_of_gpu_memory_halves_the_batch(monkeypatch, capsys):
    bridge, samples = tiny_bridge("llama"), _samples(8)
    expected = extract(bridge, samples, hooks=[resid_post(1)], progress=False)
    plain, sizes = worker.forward, []

    def small_gpu(model, hooks, ids, *rest):
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return plain(model, hooks, ids, *rest)

    monkeypatch.setattr(worker, "forward", small_gpu)
    got = extract(bridge, samples, hooks=[resid_post(1)], batch_size=8, progress=False)
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert np.allclose(got.read(resid_post(1)), expected.read(resid_post(1)), rtol=1e-4, atol=1e-5)
    assert "going on with batch_size=2" in capsys.readouterr().err


# --- bad input -----------------------------------------------------------------------------------


def test_bad_input_is_named():
    bridge, samples = tiny_bridge("llama"), _samples(4)
    hook = resid_post(0)
    for arguments, message in [
        (dict(samples=[]), "no samples"),
        (dict(hooks=[]), "no hooks to read"),
        (dict(hooks=["blocks.0.hook_resid_pots"]), "unknown hook.*nearest valid names"),
        (dict(hooks=["hook_pos_embed"]), "never fire in this model: hook_pos_embed"),
        (dict(hooks=["blocks.0.attn.hook_pattern"]), "first axes are batch and position"),
        (dict(positions=["year"]), "sample 0 has no span 'year'; it has day, month, place"),
        (dict(rule="median"), "unknown rule 'median'; choose from last, first, mean"),
        (dict(batch_size=0), "batch_size = 0"),
        (dict(dtype="float16"), "cannot store as 'float16'; choose from float32, bfloat16"),
        (dict(samples=[*samples, Sample("word " * 300, dict(samples[0].spans))]), "sample 4 has .* more than the context of 160"),  # noqa: E501
        (dict(samples=[Sample("no spans here", {})]), "no positions to read"),
    ]:  # fmt: skip
        call = dict(samples=samples, hooks=[hook]) | arguments
        with pytest.raises(ValueError, match=message):
            extract(bridge, call.pop("samples"), progress=False, **call)


def test_non_finite_activations_stop_with_sample_hook_and_dtype():
    hf = tiny_hf("llama")
    tokenizer = tiny_tokenizer("llama")
    samples = _samples(6)
    only_in_fourth = set(tokenizer(samples[3].text).input_ids) - {
        token for s in samples[:3] + samples[4:] for token in tokenizer(s.text).input_ids
    }
    hf.model.embed_tokens.weight.data[min(only_in_fourth)] = float("inf")
    bridge = load(hf, tokenizer=tokenizer, check=False)
    with pytest.raises(ValueError, match="non-finite activation in sample 3 at blocks.1.*float32"):
        extract(bridge, samples, hooks=[resid_post(1)], progress=False)


def test_stores_refuse_what_they_do_not_hold(tmp_path):
    bridge = tiny_bridge("llama")
    store = extract(bridge, _samples(3), hooks=[resid_post(0)], out=tmp_path / "s", progress=False)
    with pytest.raises(ValueError, match="'hook_embed' was not extracted; there are blocks.0"):
        store.read("hook_embed")
    with pytest.raises(ValueError, match="position 'year' was not extracted; day, month, place"):
        next(by_position(store, positions=["year"]))
    with pytest.raises(ValueError, match="holds no store"):
        Store.open(tmp_path)
    assert os.listdir(store.path)


def test_a_model_under_another_name_is_the_same_model(tmp_path):
    """The checkpoint is what counts, not the path it was asked for by."""
    stores = []
    for name in ("here", "there"):
        tiny_hf("llama").save_pretrained(tmp_path / name)
        tiny_tokenizer("llama").save_pretrained(tmp_path / name)
        bridge = load(tmp_path / name, device="cpu")
        hooks = [resid_post(0)]
        out = tmp_path / "{key}"
        stores.append(extract(bridge, _samples(3), hooks=hooks, out=out, progress=False))
    assert stores[0].path == stores[1].path
    assert stores[0].source["name"].endswith("here")


def test_an_edited_model_does_not_write_a_store(tmp_path):
    bridge = tiny_bridge("llama")
    samples = [Sample("Bob likes chess.", {"word": (0, 3)})]
    with steer(bridge, {resid_post(0): torch.ones(bridge.cfg.d_model)}):
        with pytest.raises(ValueError, match="a context edits blocks.0.hook_resid_post: a store"):
            extract(bridge, samples, hooks=[resid_post(1)], out=tmp_path / "store")
        edited = extract(bridge, samples, hooks=[resid_post(1)], progress=False)
    plain = extract(bridge, samples, hooks=[resid_post(1)], progress=False)
    assert not np.allclose(edited.read(resid_post(1)), plain.read(resid_post(1)))


# --- edited runs ---------------------------------------------------------------------------------


def _by_hand(hf, family, sample, vector):
    """One text through HuggingFace's model, a vector added by torch's own hook to what block 0
    writes at the token of the month: stream after block 1, and logits, at that of the place."""
    layers = hf.transformer.h if family == "gpt2" else hf.model.layers
    encoded = tiny_tokenizer(family)(sample.text, return_tensors="pt", return_offsets_mapping=True)
    offsets, kept = encoded["offset_mapping"][0].tolist(), {}
    month, place = (
        max(i for i, (a, b) in enumerate(offsets) if a < sample.spans[name][1] <= b)
        for name in ("month", "place")
    )

    def add(_module, _args, output):
        stream = output if isinstance(output, torch.Tensor) else output[0]
        stream[:, month] += vector
        return output

    def keep(_module, _args, output):
        kept["stream"] = (output if isinstance(output, torch.Tensor) else output[0])[0, place]

    handles = [layers[0].register_forward_hook(add), layers[1].register_forward_hook(keep)]
    with torch.no_grad():
        logits = hf(input_ids=encoded["input_ids"]).logits[0, place]
    for handle in handles:
        handle.remove()
    return month, kept["stream"].numpy(), logits.numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_edited_batches_equal_hooks_on_huggingface_one_text_at_a_time(family):
    bridge, hf = tiny_pair(family)
    samples = _samples(7)
    vectors = 3 * torch.randn(7, 32, generator=torch.Generator().manual_seed(0))
    by_hand = [_by_hand(hf, family, s, v) for s, v in zip(samples, vectors, strict=True)]
    months, streams, scores = (np.stack(part) for part in zip(*by_hand, strict=True))

    def steered(rows):
        positions = months[rows][:, None]
        return steer(bridge, {resid_post(0): vectors[rows]}, positions=positions)

    call = dict(hooks=[resid_post(1)], positions=["place"], edit=steered, progress=False)
    plain = extract(bridge, samples, **(call | {"edit": None})).read(resid_post(1))[:, 0]
    for batch_size in (1, 3):  # in batches of three the texts are padded
        got = extract(bridge, samples, batch_size=batch_size, logits=lambda x: x[:, 0], **call)
        for found, expected in ((got.read(resid_post(1))[:, 0], streams), (got.logits, scores)):
            # float32 sums in another order
            assert np.abs(np.asarray(found) - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(plain - streams).max() > 0.01
    again = extract(bridge, samples, **(call | {"edit": None})).read(resid_post(1))[:, 0]
    assert np.array_equal(again, plain)  # no edit stays behind


def test_edited_samples_run_in_their_order_and_stop_at_the_last_hook():
    bridge, samples, batches, ran = tiny_bridge("llama"), _samples(7), [], []
    bridge.original_model.lm_head.register_forward_hook(lambda *_: ran.append("logits"))

    def edit(rows):
        batches.append(rows.tolist())
        return nullcontext()

    call = dict(hooks=[resid_post(1)], progress=False, batch_size=3)
    edited = extract(bridge, samples, edit=edit, **call)
    assert batches == [[0, 1, 2], [3, 4, 5], [6]] and not ran
    plain = extract(bridge, samples, **call)
    # batches of other texts, which are padded otherwise
    np.testing.assert_allclose(
        edited.read(resid_post(1)), plain.read(resid_post(1)), rtol=1e-4, atol=1e-5
    )


def test_logits_are_computed_at_the_positions_and_kept_as_the_function_gives_them():
    bridge, samples = tiny_bridge("gemma2"), _samples(5)
    widths = []
    bridge.original_model.lm_head.register_forward_hook(
        lambda _module, _args, output: widths.append(output.shape[1])
    )
    read = extract(
        bridge, samples, hooks=(), positions=["month"], batch_size=1, progress=False,
        logits=lambda logits: logits[:, 0].double().log_softmax(dim=-1)[:, [3, 7]],
    )  # fmt: skip
    assert widths == [1] * 5 and read.hooks == ()
    assert read.logits.dtype == torch.float64 and read.logits.shape == (5, 2)
    for row, sample in enumerate(samples):
        (aligned,) = align(bridge.tokenizer, [sample], ["month"])
        with torch.no_grad():
            whole = bridge(torch.tensor([aligned.ids]))[0, aligned.tokens[0][-1]]
        expected = whole.double().log_softmax(dim=-1)[[3, 7]]
        torch.testing.assert_close(read.logits[row], expected, rtol=0, atol=1e-5)


def test_tokens_in_place_of_a_text_give_what_the_text_gives(tmp_path):
    bridge, samples, hook = tiny_bridge("llama"), _samples(5), resid_post(1)
    aligned = align(bridge.tokenizer, samples, ["day", "place"])
    call = dict(hooks=[hook], rule="mean", progress=False)
    expected = extract(bridge, samples, positions=["day", "place"], **call).read(hook)
    got = extract(bridge, aligned, **call)
    assert got.positions == ("0", "1")
    assert np.array_equal(got.read(hook), expected)
    one = extract(bridge, aligned, positions="1", **call).read(hook)
    assert np.array_equal(one[:, 0], expected[:, 1])
    stores = [
        extract(bridge, texts, positions=names, out=tmp_path / "{key}", **call)
        for texts, names in ((samples, ["day", "place"]), (aligned, None))
    ]
    assert stores[0].path != stores[1].path
    for wrong, message in (
        (Aligned([5] * 161, (np.array([0]),)), "has 161 tokens, more than the context"),
        (Aligned([10**6], (np.array([0]),)), "has id 1000000"),
        (Aligned([5, 6], (np.array([2]),)), r"position '0' has the tokens \[2\]; there are 0 to 1"),
        (Aligned([5, 6], (np.array([], dtype=int),)), r"position '0' has the tokens \[\]"),
    ):
        with pytest.raises(ValueError, match=message):
            extract(bridge, [wrong], **call)
    with pytest.raises(ValueError, match="sample 0 has no position 'day'; it has 0, 1"):
        extract(bridge, aligned, positions="day", **call)


def test_edits_and_logits_that_cannot_be_are_refused(tmp_path):
    bridge, samples = tiny_bridge("llama"), _samples(3)
    call = dict(hooks=[resid_post(1)], progress=False)
    for given, message in (
        (dict(edit=lambda _: None), "edit gave None; it must give a context"),
        (dict(logits=lambda logits: logits.sum()), r"logits gave \[\] for a batch of 3"),
        (dict(logits=lambda _: "x"), "logits gave 'x' for a batch of 3"),
        (dict(edit=lambda _: nullcontext(), out=tmp_path / "s"), "edit= goes with out=None"),
        (dict(logits=lambda x: x, out=tmp_path / "s"), "logits= goes with out=None"),
    ):
        with pytest.raises(ValueError, match=message):
            extract(bridge, samples, **call, **given)
    assert not (tmp_path / "s").exists()
    unchecked = inspect.unwrap(call_module._check_batches)
    context = steer(bridge, {resid_post(0): torch.ones(32)})
    with pytest.raises(ValueError, match="edit = <edits of .*give a function, such as lambda rows"):
        unchecked(16, {"edit": context}, None)
    with pytest.raises(ValueError, match="logits = 3; give a function"):
        unchecked(16, {"logits": 3}, None)
