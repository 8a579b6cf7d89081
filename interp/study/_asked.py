"""What a study is about, the model that is asked, and what a question answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar, runtime_checkable

import pandas as pd
import plotly.graph_objects as go

from interp import extract, model, store, tasks
from interp.claims import Claim
from interp.report import Block, Section
from interp.run import Run
from interp.stats import Resampling

Answer = TypeVar("Answer")


@runtime_checkable
class Material(Protocol):
    """What a study is about: its texts, or whatever else it asks models of."""

    def fingerprint(self) -> str:
        """Hash of everything that a result depends on."""
        ...

    def describe(self) -> str:
        """A few words, such as "200 texts"."""
        ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """The answer to one question about one model."""

    claims: Sequence[Claim] = ()
    """What the answer establishes; a claim without a subject is about the model asked."""
    figures: Sequence[Block | go.Figure] = ()
    """Figures, tables and paragraphs that stand under the question's own words."""
    sections: Sequence[Section] = ()
    """Further parts of the report, with a title each."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Tables to keep, by name: saved as NAME-NUMBER.parquet, NUMBER counting models from 1."""
    results: Mapping[str, object] = field(default_factory=dict)
    """Values to keep beside the claims, by name: NAME-NUMBER in results.json."""
    row: Mapping[str, object] = field(default_factory=dict)
    """Entries for this model in the table of models side by side."""
    words: Sequence[str] = ()
    """Sentences that stand before the claims where the model is put into words."""


Question = Callable[["Subject", Any], Part]
"""A function from a subject and the texts to its part, annotated to return a `Part`."""
Comparison = Callable[[Sequence["Subject"], Any], Part]
"""A question about several models together."""
MakeTexts = Callable[[Any], Material]
"""From the options to what a study is about."""
Plant = Callable[[Any, Any, float, int], "Subject"]
"""From options, texts, size of an effect and number of a draw to a subject without a model."""


@dataclass(eq=False)
class Subject:
    """One model that a study asks, with what was computed about it in this run."""

    name: str
    """The name it was asked for by."""
    number: int
    """Place among the models, from 1."""
    config: Any
    """The study's options."""
    texts: Any
    """What the study is about."""
    run: Run
    """The run directory, for files that only one study writes."""
    _answers: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)

    def ask(self, question: Callable[["Subject", Any], Answer]) -> Answer:
        """The answer of a function of subject and texts, computed once in a run."""
        if question not in self._answers:
            self._answers[question] = question(self, self.texts)
        return self._answers[question]

    @cached_property
    def model(self) -> Any:
        """The model, a `TransformerBridge`, loaded on first use; its source is recorded."""
        loaded = model.load(self.name, **self.config.loading(self.name))
        self.record(f"model {self.name}", model.source(loaded).as_dict())
        return loaded

    @cached_property
    def stores(self) -> Any:
        """Where activations are kept and who computes them, as `interp.extract.Stores`."""
        return extract.Stores.of(self.config)

    @cached_property
    def residuals(self) -> Any:
        """Residual stream of all texts at all of their positions and every depth, as a `Store`."""
        hooks = model.residual_stream(self.model)
        return self.stores.extract(self.run.study, self.model, self.texts.samples, hooks=hooks)

    def activations(self) -> Any:
        """(hook, residual stream [position, sample, d]) of one depth after another, as grids of
        methods take it."""
        return store.by_position(self.residuals)

    def cells(
        self, position: str, *, between: tuple[float | int, float | int] = (0, 100)
    ) -> list[tuple[str, Any]]:
        """(depth, activations [n, d]) of one position, as tests of one position take them.

        Args:
            position: Name of a span of the texts.
            between: Depths to take, in % of the blocks.

        Raises:
            ValueError: a position that the texts lack, or depths that hold nothing.
        """
        rows = dict(zip(self.depths, self.residuals.hooks, strict=True))
        blocks = len(rows) - 2
        # row k is the output of k blocks; the final norm is as deep as the last of them
        depth = {name: 100 * min(row, blocks) / blocks for row, name in enumerate(rows)}
        chosen = [name for name in rows if between[0] <= depth[name] <= between[1]]
        if not chosen:
            raise ValueError(f"between = {between} holds no depth of {blocks} blocks")
        hooks = [rows[name] for name in chosen]
        read = store.by_position(self.residuals, hooks=hooks, positions=[position])
        return [(name, X[0]) for name, (_, X) in zip(chosen, read, strict=True)]

    @property
    def depths(self) -> tuple[str, ...]:
        """Names of the depths of `activations`."""
        return model.depth_names(self.residuals.hooks)

    def activations_at(self, row: int) -> Any:
        """Residual stream [position, sample, d] of one depth, by its number in `depths`."""
        return self.residuals.read(self.residuals.hooks[row]).swapaxes(0, 1)

    def row_at(self, percent: float | int) -> int:
        """Number of the depth at this share of the blocks; depth k is the output of k blocks."""
        return round(percent / 100 * (len(self.depths) - 2))

    @property
    def middle(self) -> range:
        """Numbers of the depths between 25 and 75 % of the blocks; of a single block, that
        block."""
        n_blocks = len(self.depths) - 2
        first = -(-n_blocks // 4)
        return range(first, max(first, 3 * n_blocks // 4) + 1)

    @property
    def options(self) -> dict[str, Any]:
        """Options that grids of methods share, as far as the configuration has them."""
        config = self.config
        taken = {"n_permutations": "permutations", "n_splits": "folds"}
        given = {name: getattr(config, o) for name, o in taken.items() if hasattr(config, o)}
        jobs = getattr(config, "jobs", None)
        return {
            "resampling": Resampling(**given, seed=config.seed),
            "workers": tasks.Workers(jobs, config.backend, config.runs / "cache"),
        }

    def record(self, key: str, value: Any) -> None:
        """Adds what only this study knows to the manifest."""
        self.run.record(key, value)

    def release(self) -> None:
        """Lets go of the model; what was computed stays."""
        self.__dict__.pop("model", None)
