"""The one runner of studies: a study is texts and questions, asked of one model after another.

    @dataclass(frozen=True, kw_only=True)
    class Config(study.Config):
        n: int = 210

    def texts(config) -> Texts: ...
    def circle(subject, texts) -> study.Part: ...

    if __name__ == "__main__":
        study.main(Config, texts, [circle])

1. Everything that can be refused without a model is refused first: options, texts, names of models,
   questions.
2. For each model every question is asked. What a question computes is remembered within the run, so
   that another question may ask for it (`Subject.ask`). A part's tables are saved at once.
3. A model that fails is set aside with its error, and the others go on.
4. Claims of all models are judged together, and the report and the manifest are written.
"""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar, get_type_hints, runtime_checkable

import pandas as pd
import plotly.graph_objects as go

from interp import extract, model, store
from interp.claims import Claim, about, as_records, judged
from interp.files import Unfinished
from interp.report import Block, Figure, Section, Table, render
from interp.run import Run, RunConfig, StudyConfig, run_command

Config = StudyConfig
"""Options of every study over models: a study adds its own."""

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

    @property
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
        taken = {"n_permutations": "permutations", "n_splits": "folds", "n_jobs": "jobs"}
        given = {name: option for name, option in taken.items() if hasattr(self.config, option)}
        return {name: getattr(self.config, option) for name, option in given.items()} | {
            "seed": self.config.seed,
            "backend": self.config.backend,
            "cache": self.config.runs / "cache",
        }

    def record(self, key: str, value: Any) -> None:
        """Adds what only this study knows to the manifest."""
        self.run.record(key, value)

    def release(self) -> None:
        """Lets go of the model; what was computed stays."""
        self.__dict__.pop("model", None)


@dataclass(frozen=True)
class Outcome:
    """What a run found."""

    path: Path
    """The run directory."""
    claims: tuple[Claim, ...]
    """All claims with their verdicts."""
    subjects: tuple[Subject, ...]
    """The models that were asked, with what was computed about them."""
    parts: Mapping[str, tuple[Part, ...]]
    """Answers by model, in the order of the questions."""
    failed: Mapping[str, str]
    """Error of each model that failed."""

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.path / "report.html"

    def table(self) -> pd.DataFrame:
        """A row for every claim: model, kind, statement, verdict, what was measured."""
        rows = [(c.subject, c.kind, c.statement, c.verdict, c.measured()) for c in self.claims]
        return pd.DataFrame(rows, columns=["model", "kind", "statement", "verdict", "measured"])

    def _repr_html_(self) -> str:
        return self.table().to_html(index=False) + f"<p>{self.report}</p>"

    def __str__(self) -> str:
        return str(self.report)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Texts and questions under one name.

    Functions may be given as "module:function", so that what they import is loaded when the study
    runs and not for `--help`.

    Raises:
        ValueError: no questions, or two of one name.
    """

    name: str
    """Name of its directory of runs."""
    config: type[RunConfig]
    """Its options, a frozen dataclass."""
    texts: MakeTexts | str
    """From the options to what the study is about."""
    questions: Sequence[Question | str]
    """Asked of every model, in this order."""
    comparisons: Sequence[Comparison | str] = ()
    """Asked of all models together, where there are several."""
    method: Callable[[Sequence[Subject], Any], Sequence[Block]] | str | None = None
    """Paragraphs and tables on what was done."""
    title: str = ""
    """Title of the report, by default the name; `{texts.attribute}` is filled in."""

    def __post_init__(self):
        names = [_name(question) for question in self.questions]
        if not names:
            raise ValueError(f"study {self.name!r} has no questions")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"study {self.name!r} has two questions named {name!r}")

    def main(self, *, prog: str, description: str = "") -> None:
        """Run with the options of the command line, and print the path of the report.

        The exit status is 1 where a model failed.
        """
        outcome = run_command(self.run, self.config, prog=prog, description=description)
        if outcome is not None and outcome.failed:
            raise SystemExit(1)

    def run(self, config: RunConfig) -> Outcome:
        """Ask every question of every model.

        Raises:
            ValueError: anything that can be refused before a model is loaded.
            Exception: what stopped the only model, or the last one of several that all failed.
        """
        # 1. all that can be refused without a model
        questions = [_resolved(question) for question in self.questions]
        for question in questions:
            _check_question(question)
        texts = _resolved(self.texts)(config)
        _check_spans(questions, texts)
        names = config.subjects
        if isinstance(config, StudyConfig):
            model.check_models(
                config.model,
                config.device,
                revisions=config.revision,
                quantise=config.quantise,
            )
        with Run(self.name, config, root=config.runs) as run:
            run.record("texts", texts.fingerprint())
            # 2. every question of every model
            subjects = [Subject(n, i, config, texts, run) for i, n in enumerate(names, start=1)]
            parts, failed = _ask_all(subjects, questions)
            run.record("failed", failed)
            subjects = [subject for subject in subjects if subject.name in parts]
            together = _together(self.comparisons, subjects, texts)
            # 3. verdicts over all models, and the report
            every = [*(part for asked in parts.values() for part in asked), *together]
            claims = judged(
                [c for part in every for c in part.claims], untrained=model.untrained(names)
            )
            run.save_results({"claims": as_records(claims)})
            outcome = Outcome(run.path, tuple(claims), tuple(subjects), parts, failed)
            run.save_report(self._page(outcome, together, texts, run))
            return outcome

    def _page(self, outcome: Outcome, together: Sequence[Part], texts: Any, run: Run) -> str:
        body = [] if self.method is None else _resolved(self.method)(outcome.subjects, texts)
        rows = {
            name: {key: value for part in asked for key, value in part.row.items()}
            for name, asked in outcome.parts.items()
        }
        if any(rows.values()):
            side_by_side = pd.DataFrame(rows).rename_axis("")  # not "index"
            body = [*body, Table(side_by_side, "The models.")]
        failures = [Section(f"{name} failed", [error]) for name, error in outcome.failed.items()]
        each = [
            section for asked in outcome.parts.values() for p in asked for section in p.sections
        ]
        return render(
            (self.title or self.name).format(texts=texts),
            as_records(outcome.claims),
            [
                *failures,
                *([Section("What was done, and the models side by side", body)] if body else []),
                *(_in_words(s, outcome) for s in outcome.subjects),
                *(section for part in together for section in part.sections),
                *each,
            ],
            introduction=f"{texts.describe()}; models: {', '.join(outcome.parts)}",
            facts=run.summary(),
        )


def run(config: RunConfig, texts: MakeTexts, questions: Sequence[Question]) -> Outcome:
    """Run a study that is one module, from Python or a notebook.

    Args:
        config: Its options.
        texts: From the options to what the study is about.
        questions: Asked of every model, in this order.

    Raises:
        ValueError: as `Study` and `Study.run`.
    """
    return _of_module(type(config), texts, questions).run(config)


def main(config: type[RunConfig], texts: MakeTexts, questions: Sequence[Question]) -> None:
    """Run a study that is one module with the options of the command line.

    The module's name is the study's, and its docstring says what is asked. For more than that, make
    a `Study`.
    """
    module = sys.modules[config.__module__]
    spec = getattr(module, "__spec__", None)
    prog = f"python {sys.argv[0]}" if spec is None else f"python -m {_module_name(module)}"
    study = _of_module(config, texts, questions)
    study.main(prog=prog, description=(module.__doc__ or "").strip())


def _of_module(config: type[RunConfig], texts: MakeTexts, questions: Sequence[Question]) -> Study:
    module = sys.modules[config.__module__]
    title = (module.__doc__ or "").strip().partition("\n")[0]
    name = _module_name(module).rpartition(".")[2]
    return Study(name=name, config=config, texts=texts, questions=questions, title=title)


def _module_name(module: ModuleType) -> str:
    """The name by which a module can be run or imported, also where it is run as a script."""
    if spec := getattr(module, "__spec__", None):
        return spec.name.removesuffix(".__main__")
    return Path(str(module.__file__)).stem


def asks(*positions: str) -> Callable[[Question], Question]:
    """Decorator of a question: the positions that it reads, which its texts must have."""

    def marked(question: Question) -> Question:
        vars(question)["positions"] = positions
        return question

    return marked


def _ask_all(
    subjects: Sequence[Subject], questions: Sequence[Question]
) -> tuple[dict[str, tuple[Part, ...]], dict[str, str]]:
    """Parts of each model, and the errors of those that failed."""
    parts: dict[str, tuple[Part, ...]] = {}
    failed: dict[str, str] = {}
    for subject in subjects:
        try:
            parts[subject.name] = tuple(_asked(subject, question) for question in questions)
        except Unfinished:
            raise
        except Exception as error:
            # the last hope for a report is gone
            if not parts and subject is subjects[-1]:
                raise
            failed[subject.name] = "".join(traceback.format_exception_only(error)).strip()
            print(f"{subject.name} failed: {failed[subject.name]}", file=sys.stderr)
            traceback.print_exception(error, file=sys.stderr)
        finally:
            subject.release()
    return parts, failed


def _asked(subject: Subject, question: Question) -> Part:
    part = subject.ask(question)
    for name, table in part.tables.items():
        subject.run.save_table(f"{name}-{subject.number}", table)
    claims = [c if c.subject else replace(c, subject=subject.name) for c in part.claims]
    sections = list(part.sections)
    if part.figures:
        words = (question.__doc__ or question.__name__).strip().partition("\n")[0]
        body = [Figure(f, "") if isinstance(f, go.Figure) else f for f in part.figures]
        sections.insert(0, Section(f"{subject.name}: {words}", body))
    return replace(part, claims=claims, figures=(), sections=sections)


def _together(
    comparisons: Sequence[Comparison | str], subjects: Sequence[Subject], texts: Any
) -> list[Part]:
    if len(subjects) < 2:
        return []
    return [_resolved(comparison)(subjects, texts) for comparison in comparisons]


def _in_words(subject: Subject, outcome: Outcome) -> Section:
    words = [sentence for part in outcome.parts[subject.name] for sentence in part.words]
    claims = about(outcome.claims, subject.name)
    return Section(f"{subject.name}: in words", [*words, *(c.sentence() for c in claims)])


def _name(question: Callable[..., Any] | str) -> str:
    return question.rpartition(":")[2] if isinstance(question, str) else question.__name__


def _resolved(function: Callable[..., Any] | str) -> Callable[..., Any]:
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def _check_question(question: Question) -> None:
    given = get_type_hints(question).get("return")
    if given is not Part:
        raise ValueError(
            f"question {question.__name__!r} is annotated to return {given}; a question returns a "
            "Part: write `-> study.Part`"
        )


def _check_spans(questions: Sequence[Question], texts: Any) -> None:
    """Refuse a question that reads a position which the texts lack."""
    for question in questions:
        for position in getattr(question, "positions", ()):
            if position not in texts.positions:
                raise ValueError(
                    f"question {question.__name__!r} reads {position!r}; the texts have the "
                    f"positions {', '.join(texts.positions)}"
                )
