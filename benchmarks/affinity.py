"""A pair of Gemma-2-2B-shaped checkpoints: read block by block, against loading both models; and
the closed-form null against sampling.

    python benchmarks/affinity.py [--blocks 26] [--rounds 3] [--keep DIR]

1. Builds two sharded bf16 checkpoints of random weights (5.2 GB each with all 26 blocks), unless
   --keep DIR already holds them.
2. Each way runs in a process of its own, after the files have left the page cache: ours reads each
   block's attention from both checkpoints and takes logits, flows, their differences and nulls of
   10 directions; the other loads both models with `from_pretrained` and takes logits and flows from
   their modules, with 1,000 sampled pairs a block as the null. Both must find the same logits and
   cosines. Reported: peak resident memory (VmHWM, imports included) and the part of it at the end
   that belongs to no file (RssAnon); bytes asked for by read calls (rchar, which misses mapped
   files) and bytes fetched from the disk (read_bytes, which counts them, read-ahead included), both
   since the imports and beside the bytes of the attention tensors; and wall time.
3. One block of Gemma-2-27B's shape: exact mean and sd against 1,000 sampled pairs, and the null
   with its tail against the 100,000 pairs that give p = .001 to 10 %, charged at the rate of 1,000.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, Gemma2Config

from interp.affinity import (
    Forms,
    fold,
    keys,
    null,
    per_query_head,
    qk,
    qk_difference,
    qk_self,
    queries,
    turned,
    vo_cross,
    vo_cross_difference,
)
from interp.affinity._inputs import inputs
from interp.affinity._moments import bilinear, head_maps
from interp.weights import AttentionWeights, Rope, size_report

DIRECTIONS, SAMPLED, BLOCKS_PER_SHARD = 10, 1000, 4
POOL = 1 << 22
"""Distinct random weights; tensors are stretches of them."""


def config(blocks: int) -> Gemma2Config:
    """Gemma-2-2B's."""
    return Gemma2Config(
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=blocks,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        query_pre_attn_scalar=256,
        vocab_size=256000,
        architectures=["Gemma2ForCausalLM"],
        dtype="bfloat16",
    )


def shapes(c: Gemma2Config, block: int) -> dict[str, tuple[int, ...]]:
    """Of one block's tensors."""
    d, q, kv = c.hidden_size, 8 * 256, 4 * 256
    start, norms = f"model.layers.{block}.", ("input", "post_attention", "pre_feedforward")
    found: dict[str, tuple[int, ...]] = {
        f"{start}{n}_layernorm.weight": (d,) for n in (*norms, "post_feedforward")
    }
    attention = {"q": (q, d), "k": (kv, d), "v": (kv, d), "o": (d, q)}
    found |= {f"{start}self_attn.{p}_proj.weight": shape for p, shape in attention.items()}
    mlp = {"gate": (9216, d), "up": (9216, d), "down": (d, 9216)}
    return found | {f"{start}mlp.{p}_proj.weight": shape for p, shape in mlp.items()}


def build(directory: Path, blocks: int, noise: float) -> None:
    """A checkpoint, shard by shard; both models share their weights up to the noise."""
    directory.mkdir(parents=True)
    c = config(blocks)
    c.save_pretrained(directory)
    generator = torch.Generator().manual_seed(0)
    pool = 0.02 * torch.randn(POOL, generator=generator)
    pool = (pool + noise * 0.02 * torch.randn(POOL, generator=generator)).bfloat16()

    def stretch(shape: tuple[int, ...]) -> torch.Tensor:
        n = int(np.prod(shape))
        first = int(torch.randint(POOL, (1,), generator=generator))
        return pool.roll(-first).repeat(n // POOL + 1)[:n].reshape(shape).clone()

    groups = [{"model.embed_tokens.weight": (c.vocab_size, 2304), "model.norm.weight": (2304,)}]
    for start in range(0, blocks, BLOCKS_PER_SHARD):
        group: dict[str, tuple[int, ...]] = {}
        for block in range(start, min(start + BLOCKS_PER_SHARD, blocks)):
            group |= shapes(c, block)
        groups.append(group)
    index = {}
    for number, group in enumerate(groups, 1):
        name = f"model-{number:05}-of-{len(groups):05}.safetensors"
        save_file({n: stretch(s) for n, s in group.items()}, directory / name, {"format": "pt"})
        index |= dict.fromkeys(group, name)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (directory / "model.safetensors.index.json").write_text(text)


def forget(directory: Path) -> None:
    """Drop the files from the page cache, where the system allows it."""
    for path in directory.glob("*.safetensors"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def directions() -> torch.Tensor:
    return torch.randn(DIRECTIONS, 2304, generator=torch.Generator().manual_seed(1))


def ours(paths: list[Path], blocks: int) -> list[torch.Tensor]:
    """Logits and cosines at distance 0 per block and model, of everything taken."""
    X, kept = directions(), []
    for block in range(blocks):
        base, other = (fold(AttentionWeights.from_checkpoint(p, block)) for p in paths)
        for forms in (base, other):
            logits, flow = qk(forms, X, X, distance=0), vo_cross(forms, X, X)
            kept.append(torch.stack([*logits.raw, flow.cosine]))
            qk_self(forms, X, distance=0)
        qk_difference(base, other, X, X, distance=0)
        vo_cross_difference(base, other, X, X)
    return kept


@torch.no_grad()
def with_models(paths: list[Path], blocks: int) -> list[torch.Tensor]:
    """The same logits and cosines from the modules of two whole models."""
    models = [AutoModelForCausalLM.from_pretrained(p, dtype=torch.bfloat16) for p in paths]
    X = directions()
    noise = torch.randn(2 * SAMPLED, 2304, generator=torch.Generator().manual_seed(2))
    unit, kept = X / X.norm(dim=1, keepdim=True), []
    for block in range(blocks):
        for model in models:
            layer = model.model.layers[block].float()
            attention = layer.self_attn

            def heads(x, layer=layer, attention=attention):
                x = layer.input_layernorm(x)
                q = attention.q_proj(x).view(len(x), 8, 256).transpose(0, 1)
                k = attention.k_proj(x).view(len(x), 4, 256).transpose(0, 1)
                v = attention.v_proj(x).view(len(x), 4, 256)
                return q, k.repeat_interleave(2, 0), v.repeat_interleave(2, 1).flatten(1)

            q, k, v = heads(X)
            logits = 50 * (q @ k.mT * attention.scaling / 50).tanh()
            written = layer.post_attention_layernorm(attention.o_proj(v))
            cosine = written @ unit.T / written.norm(dim=1, keepdim=True)
            kept.append(torch.stack([*logits, cosine]).double())
            q, k, v = heads(noise)
            pairs = (q[:, :SAMPLED] * k[:, SAMPLED:]).sum(-1) * attention.scaling
            own = (q * k).sum(-1) * attention.scaling
            assert pairs.std() > 0 and own.std() > 0
            layer.bfloat16()
    return kept


def status(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) / 1024


def counters() -> dict[str, int]:
    lines = Path("/proc/self/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


def child(way: str, paths: list[Path], blocks: int, out: Path) -> None:
    """Run one way and print what it took."""
    torch.set_num_threads(1)
    before, start = counters(), time.perf_counter()
    kept = {"ours": ours, "models": with_models}[way](paths, blocks)
    seconds = time.perf_counter() - start
    after = counters()
    np.save(out, torch.stack(kept).numpy())
    facts = {"seconds": seconds, "peak": status("VmHWM"), "anonymous": status("RssAnon")}
    facts |= {name: after[name] - before[name] for name in ("rchar", "read_bytes")}
    print(json.dumps(facts))


def measured(way: str, paths: list[Path], blocks: int, out: Path) -> dict[str, float]:
    for path in paths:
        forget(path)
    command = [sys.executable, __file__, "--child", way, "--blocks", str(blocks), "--out", str(out)]
    text = subprocess.run(
        [*command, "--paths", *map(str, paths)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(text.splitlines()[-1])


def compare(root: Path, blocks: int, rounds: int) -> None:
    paths = [root / f"{name}-{blocks}" for name in ("base", "other")]
    for path, noise in zip(paths, (0.0, 0.02), strict=True):
        if not path.exists():
            build(path, blocks, noise)
    report = size_report(paths[0])
    needed = 2 * report.bytes_needed
    share = report.bytes_needed / report.bytes_total
    print(f"{blocks} blocks: {needed / 1e6:.0f} MB needed for both, {share:.1%} of the bytes")
    ratios = []
    for number in range(rounds):
        found = {}
        for way in ("ours", "models"):
            found[way] = f = measured(way, paths, blocks, root / f"{way}.npy")
            print(
                f"{way:>7}: {f['seconds']:6.1f} s, peak {f['peak']:6.0f} MB (at the end "
                f"{f['anonymous']:.0f} anonymous), read calls {f['rchar'] / needed:.3f} and disk "
                f"{f['read_bytes'] / needed:.3f} of the bytes needed"
            )
        ratios.append([found["models"][k] / found["ours"][k] for k in ("seconds", "peak")])
        if number == 0:
            values = [np.load(root / f"{way}.npy") for way in found]
            print(f"largest difference {np.abs(values[0] - values[1]).max():.1e}")
    middle = np.median(ratios, axis=0)
    print(f"models / ours, median of {rounds}: time {middle[0]:.2f}x, peak {middle[1]:.1f}x")


def random_block() -> Forms:
    """Of Gemma-2-27B's shape."""
    generator = torch.Generator().manual_seed(0)
    d, heads, kv, e = 4608, 32, 16, 128

    def weights(n: int) -> torch.Tensor:
        return torch.randn(n, e, d, generator=generator) / d**0.5

    return Forms(
        weights(heads), torch.zeros(heads, e), weights(kv), torch.zeros(kv, e),
        weights(kv), torch.zeros(kv, e), weights(heads), torch.zeros(d),
        q_gain=None, k_gain=None, post_gain=torch.ones(d), centred=False, eps=1e-6,
        tau=144**-0.5, softcap=50.0,
        rotation=Rope(10000.0 ** (-torch.arange(e // 2) / (e // 2)), 1.0),
    )  # fmt: skip


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def nulls(rounds: int) -> None:
    torch.set_num_threads(1)
    forms, law = random_block(), inputs(random_block(), None)
    exact = null(forms, "independent", distance=0)

    def moments() -> None:
        for head in range(len(forms.A)):
            A, a, B, b = head_maps(forms, 0, head)
            bilinear((*law.spread(A, a), *law.spread(B, b)), None)

    def sampled(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(100 + seed)  # not that of the weights
        x = torch.randn(2, SAMPLED, 4608, generator=generator)
        k = per_query_head(forms, turned(forms, keys(forms, x[1]), 0))
        return forms.tau * (queries(forms, x[0]) * k).sum(-1)

    rows, errors = [], []
    for seed in range(rounds):
        rows.append(
            [
                timed(moments),
                timed(lambda: null(forms, "independent", distance=0)),
                timed(lambda s=seed: sampled(s)),
            ]
        )
        errors.append((sampled(seed).std(-1) / exact.sd - 1).abs().max())
    exactly, whole, drawn = np.median(rows, axis=0)
    print(
        f"27B shape, 32 heads, one thread: mean and sd {exactly:.2f} s, {SAMPLED} pairs "
        f"{drawn:.2f} s, whose sd is off by up to {max(errors):.1%}; ratio {drawn / exactly:.1f}x"
    )
    print(f"with the tail {whole:.2f} s; 100,000 pairs {100 * drawn:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=26)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--child", choices=("ours", "models"), help=argparse.SUPPRESS)
    parser.add_argument("--paths", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.paths, arguments.blocks, arguments.out)
        return
    with tempfile.TemporaryDirectory() as directory:
        compare(arguments.keep or Path(directory), arguments.blocks, arguments.rounds)
    nulls(arguments.rounds)


if __name__ == "__main__":
    main()
