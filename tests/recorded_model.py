"""A model whose forward passes leave a trace, for tests that kill the process in one of them."""

import os
import time
from functools import partial
from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge

from interp.model import load
from interp.positions import Sample, find

NAMES = ("Ann", "Bartholomew", "Cy")


def samples(n: int) -> list[Sample]:
    """Texts of several lengths, 16 to a shard where a shard is as small as it can be."""
    texts = [f"{NAMES[i % 3]} was born on the {i + 1}th of June in Oslo{'!' * (i % 5)}" for i in range(n)]  # fmt: skip # noqa: E501
    return [Sample(t, {"month": find(t, "June"), "place": find(t, "Oslo")}) for t in texts]


def recorded(checkpoint: Path, log: Path, pause: float) -> TransformerBridge:
    """The model at `checkpoint`; a forward pass over several texts first adds a line with this
    process's id to `log`, then waits `pause` seconds."""
    torch.set_num_threads(1)
    bridge = load(checkpoint, device="cpu", check=False)

    run = bridge.run_with_hooks

    def noted(ids: torch.Tensor, **options: object) -> object:
        if len(ids) > 1:  # not the one text that hooks' shapes are read from
            with log.open("a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(pause)
        return run(ids, **options)

    # not by a hook, under which no store is written
    object.__setattr__(bridge, "run_with_hooks", noted)
    return bridge


def passes(log: Path) -> list[int]:
    """Process ids of the recorded passes, in their order."""
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def files(path: Path) -> dict[str, bytes]:
    """Everything in a directory."""
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def finished(path: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of writing of every shard that has its row."""
    shards = [f.with_suffix(".safetensors") for f in path.glob("shard-*.json")]
    return {f.name: (f.stat().st_ino, f.stat().st_mtime_ns) for f in shards}


def loader(checkpoint: Path, log: Path, pause: float = 0.0) -> partial[TransformerBridge]:
    """`recorded`, for a worker to call."""
    return partial(recorded, checkpoint, log, pause)
