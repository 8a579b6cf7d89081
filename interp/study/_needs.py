"""What a run would read, hold and store, before any weight is read.

1. Each model is built without weights (`interp.model.skeleton`), which gives its size in memory.
2. Questions are asked of it until they want activations: what they would have extracted is noted,
   by texts, positions, hooks and their widths.
3. Both are held against the free memory and the free disk. What a question computes beside its
   activations is not counted.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import psutil
import torch

from interp import model
from interp.extract import Stores
from interp.plan import DTYPES
from interp.run import Run, StudyConfig
from interp.study._asked import Question, Subject

HALF = {"bfloat16", "float16"}
BITS = {"4bit": 4, "8bit": 8}
GIGA = 1e9
HELD_DEPTHS = 4
"""Depths that a grid holds beside those that its workers score, as `interp.smds.smds_grid` says."""


class Noted(Exception):
    """Ends a question that wanted activations."""


@dataclass(frozen=True)
class Extraction:
    """Activations that a question would have read."""

    vectors: int
    """Texts times positions."""
    widths: tuple[int, ...]
    """Numbers under each hook."""


@dataclass(frozen=True)
class NotingStores(Stores):
    """Notes what would be extracted, and ends the question."""

    noted: dict[tuple, Extraction] = field(default_factory=dict)
    """By what tells stores apart."""

    def extract(self, name: str, model: Any, samples: Any, **what: Any) -> Any:
        """Note it. Raises `Noted`."""
        hooks = [what["hooks"]] if isinstance(what["hooks"], str) else list(what["hooks"])
        positions = what.get("positions") or list(samples[0].spans)
        widths = tuple(_width(model.cfg, hook) for hook in hooks)
        key = (name, tuple(hooks), tuple(positions), len(samples))
        self.noted[key] = Extraction(len(samples) * len(positions), widths)
        raise Noted


@dataclass(eq=False, kw_only=True)
class Sized(Subject):
    """A model without weights, in the place of one."""

    bones: model.Skeleton
    """Its architecture."""

    @cached_property
    def model(self) -> Any:
        return self.bones.bridge

    @cached_property
    def stores(self) -> NotingStores:
        """Stores that note what is asked of them."""
        return NotingStores(self.config.store)

    def record(self, key: str, value: Any) -> None:
        """Nothing is recorded of a run that is none."""


@dataclass(frozen=True)
class Needs:
    """What a run would read, hold and store."""

    models: pd.DataFrame
    """A row for every model, in GB: read from disk, weights in memory, activations held and
    stored."""
    memory: float
    """Free where the model would run, in GB."""
    disk: float | None
    """Free where stores would lie, in GB; None for an address."""

    @property
    def too_large(self) -> tuple[str, ...]:
        """What would not fit, in words; models are asked one after another, and stores stay."""
        words = []
        held_by = self.models["weights"] + self.models["held"]
        for name, held in held_by.to_dict().items():
            if held > self.memory:
                words.append(f"{name} needs {held:.1f} GB of memory; {self.memory:.1f} are free")
        stored = self.models["stored"].to_numpy().sum()
        if self.disk is not None and stored > self.disk:
            words.append(f"the stores need {stored:.1f} GB of disk; {self.disk:.1f} are free")
        return tuple(words)

    def __str__(self) -> str:
        free = f"free: {self.memory:.1f} GB of memory"
        if self.disk is not None:
            free += f", {self.disk:.1f} GB of disk"
        verdict = [f"does not fit: {word}" for word in self.too_large] or ["it fits"]
        shown = self.models.to_string(float_format=lambda value: f"{value:.3f}")
        return "\n".join([f"in GB\n{shown}", free, *verdict])

    def _repr_html_(self) -> str:
        return self.models.to_html() + "".join(f"<p>{word}</p>" for word in self.too_large)


@runtime_checkable
class Foreseen(Protocol):
    """What a study is about that knows itself what a run would need."""

    def needs(self, config: Any) -> Needs:
        """What a run would read, hold and store."""
        ...


def needs(study: str, config: StudyConfig, texts: Any, questions: Sequence[Question]) -> Needs:
    """Ask for what a run would need.

    Raises:
        ValueError: a model that is not there, or a local one that is not fetched.
    """
    rows, revisions = {}, config.revision or (None,) * len(config.model)
    for number, (name, revision) in enumerate(zip(config.model, revisions, strict=True), start=1):
        bones = model.skeleton(name, revision=revision)
        subject = Sized(name, number, config, texts, Run(study, config), bones=bones)
        rows[name] = _row(config, subject, questions)
    table = pd.DataFrame.from_dict(rows, orient="index")
    return Needs(table, free_memory(config.device), free_disk(str(config.store)))


def _row(
    config: StudyConfig, subject: Sized, questions: Sequence[Question]
) -> dict[str, float | int | None]:
    for question in questions:
        # what else a question does ends where a number of the model is asked for
        with suppress(Noted, NotImplementedError, RuntimeError):
            subject.ask(question)
    extractions = subject.stores.noted.values()
    half = _dtype(config) in HALF
    stored_as = DTYPES["bfloat16" if half else "float32"].itemsize
    depths = HELD_DEPTHS + (getattr(config, "jobs", None) or os.cpu_count() or 1)
    skeleton = subject.bones
    bits = BITS.get(config.quantise or "", 16 if half else 32)
    read = skeleton.bytes_on_disk
    return {
        "blocks": skeleton.bridge.cfg.n_layers,
        "width": skeleton.bridge.cfg.d_model,
        "parameters": skeleton.parameters / GIGA,
        "read": None if read is None else read / GIGA,
        "weights": skeleton.parameters * bits / 8 / GIGA,
        "held": max((_held(each, depths) for each in extractions), default=0.0),
        "stored": sum(e.vectors * sum(e.widths) * stored_as for e in extractions) / GIGA,
    }


def _held(extraction: Extraction, depths: int) -> float:
    """Activations in float32 that a grid holds, of the widest hooks."""
    widest = sorted(extraction.widths)[-depths:]
    return extraction.vectors * sum(widest) * DTYPES["float32"].itemsize / GIGA


def _dtype(config: StudyConfig) -> str:
    if config.dtype != "auto":
        return config.dtype
    on_gpu = torch.cuda.is_available() and config.device in (None, "cuda")
    return "bfloat16" if on_gpu else "float32"


def _width(cfg: Any, hook: str) -> int:
    """Numbers of one activation: those of all heads under a head's hook, else the stream's."""
    by_head = hook.rpartition(".")[2] in ("hook_z", "hook_q", "hook_k", "hook_v")
    return cfg.n_heads * cfg.d_head if by_head else cfg.d_model


def free_memory(device: str | None) -> float:
    """Of the device, in GB."""
    if torch.cuda.is_available() and device in (None, "cuda"):
        return torch.cuda.mem_get_info()[0] / GIGA
    return psutil.virtual_memory().available / GIGA


def free_disk(store: str) -> float | None:
    """Where stores lie, in GB; None for an address."""
    if "://" in store:
        return None
    place = Path(store).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free / GIGA
