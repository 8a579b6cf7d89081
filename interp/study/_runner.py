"""The run of a study.

1. Everything that can be refused without a model is refused first: options, texts, names of models,
   questions.
2. For each model every question is asked. What a question computes is remembered within the run, so
   that another question may ask for it (`Subject.ask`). A part's tables are saved at once, and its
   results are kept for `results.json`.
3. A model that fails is set aside with its error, and the others go on. So is a comparison.
4. Claims of all models are judged together, and the report and the manifest are written.
"""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

from interp import model
from interp.claims import Claim, about, as_records, judged
from interp.files import Unfinished
from interp.report import Block, Figure, Section, Table, render
from interp.run import Run, RunConfig, StudyConfig, run_command
from interp.study._asked import Comparison, MakeTexts, Part, Plant, Question, Subject
from interp.study._questions import check_question, check_spans, name_of, resolved
from interp.texts import Texts

if TYPE_CHECKING:
    from interp.study._needs import Needs
    from interp.study._power import Power
    from interp.study._registration import Registration
    from interp.study._replicates import Combined


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
    """Error of each model or comparison that failed."""

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
    planted: Plant | str | None = None
    """From options, texts, size of an effect and number of a draw to a subject without a model,
    for `power` and `register`; by default noise that holds the labels of `Texts`."""

    def __post_init__(self):
        names = [name_of(question) for question in self.questions]
        if not names:
            raise ValueError(f"study {self.name!r} has no questions")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"study {self.name!r} has two questions named {name!r}")

    def main(self, *, prog: str, description: str = "") -> None:
        """Run with the options of the command line, and print the path of the report.

        The exit status is 1 where a model failed, or where --plan finds that something would not
        fit.
        """
        done = run_command(self.act, self.config, prog=prog, description=description)
        if getattr(done, "failed", None) or getattr(done, "too_large", None):
            raise SystemExit(1)

    def act(self, config: RunConfig) -> "Outcome | Needs | Power | Registration | Combined":
        """What the options ask for: `run`, or in its place `plan`, `power`, `register` or
        `replicate`."""
        actions = {
            "plan": self.plan,
            "power": self.power,
            "register": self.register,
            "replicates": self.replicate,
        }
        return actions.get(config.action, self.run)(config)

    def plan(self, config: RunConfig) -> "Needs":
        """What a run would read, hold and store, and what would not fit.

        Raises:
            ValueError: as `run`, or a study that asks no models by name.
        """
        from interp.study._needs import Foreseen, needs

        questions, texts = self._checked(config)
        if isinstance(texts, Foreseen):
            return texts.needs(config)
        if not isinstance(config, StudyConfig):
            raise ValueError(f"study {self.name!r} asks no models by name, and has no plan")
        return needs(self.name, config, texts, questions)

    def power(self, config: RunConfig) -> "Power":
        """How often effects of the sizes `config.power` are found where they are planted.

        Raises:
            ValueError: as `run`, or a study whose texts nothing can be planted into.
        """
        from interp.study._power import power

        questions, _ = self._checked(config, models=False)
        return power(config, resolved(self.texts), questions, self._plant(), config.power)

    def register(self, config: RunConfig) -> "Registration":
        """Write what is to be claimed to `config.register`, before anything is read.

        Questions of a study into whose texts nothing can be planted are registered by their code.

        Raises:
            ValueError: as `run`, no file is named, or it is there already.
        """
        from interp.study._registration import Registration

        if config.register is None:
            raise ValueError("register = None; name the file to write")
        questions, texts = self._checked(config)
        noise = self._plant()(config, texts, 0.0, 0) if self._can_plant(texts) else None
        registration = Registration.of(self.name, config, texts, questions, noise)
        registration.save(config.register)
        return registration

    def replicate(self, config: RunConfig) -> "Combined":
        """Run for `config.replicates` seeds, and combine the runs.

        Raises:
            ValueError: as `run`, or fewer than two replicates.
        """
        from interp.study._replicates import replicate

        return replicate(self.run, config)

    def _plant(self) -> Plant:
        if self.planted is not None:
            return resolved(self.planted)
        from interp.study._rehearsal import of_texts

        return of_texts

    def _can_plant(self, texts: Any) -> bool:
        return self.planted is not None or isinstance(texts, Texts)

    def _checked(self, config: RunConfig, *, models: bool = True) -> tuple[list[Question], Any]:
        """Questions and texts, after all that can be refused without a model."""
        questions = [resolved(question) for question in self.questions]
        for question in questions:
            check_question(question)
        texts = resolved(self.texts)(config)
        check_spans(questions, texts)
        if models and isinstance(config, StudyConfig):
            model.check_models(
                config.model,
                config.device,
                revisions=config.revision,
                quantise=config.quantise,
            )
        return questions, texts

    def run(self, config: RunConfig) -> Outcome:
        """Ask every question of every model.

        Raises:
            ValueError: anything that can be refused before a model is loaded.
            Exception: what stopped the only model, or the last one of several that all failed.
        """
        # 1. all that can be refused without a model
        if config.action:
            raise ValueError(f"{config.action} takes the place of a run: call act(config)")
        questions, texts = self._checked(config)
        registration = _registration(self.name, config, texts)
        with Run(self.name, config, root=config.runs) as run:
            run.record("texts", texts.fingerprint())
            if registration is not None:
                run.record("registration", registration.digest)
            # 2. every question of every model
            subjects = [
                Subject(name, number, config, texts, run)
                for number, name in enumerate(config.subjects, start=1)
            ]
            parts, failed = _ask_all(subjects, questions)
            subjects = [subject for subject in subjects if subject.name in parts]
            together, broken = _together(self.comparisons, subjects, texts)
            run.record("failed", failed | broken)
            # 3. verdicts over all models, and the report
            answered = [
                *(pair for asked in parts.values() for pair in zip(questions, asked, strict=True)),
                *together,
            ]
            claims = judged(
                [claim for made, part in answered for claim in _marked(registration, made, part)],
                untrained=model.untrained(config.subjects),
            )
            run.save_results({"claims": as_records(claims)})
            outcome = Outcome(run.path, tuple(claims), tuple(subjects), parts, failed | broken)
            run.save_report(self._page(outcome, [part for _, part in together], texts, run))
            return outcome

    def _page(self, outcome: Outcome, together: Sequence[Part], texts: Any, run: Run) -> str:
        body = [] if self.method is None else resolved(self.method)(outcome.subjects, texts)
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
            failed[subject.name] = _told(subject.name, error)
        finally:
            subject.release()
    return parts, failed


def _asked(subject: Subject, question: Question) -> Part:
    part = subject.ask(question)
    for name, table in part.tables.items():
        subject.run.save_table(f"{name}-{subject.number}", table)
    for name, value in part.results.items():
        subject.run.keep_result(f"{name}-{subject.number}", value)
    claims = [c if c.subject else replace(c, subject=subject.name) for c in part.claims]
    sections = list(part.sections)
    if part.figures:
        words = (question.__doc__ or question.__name__).strip().partition("\n")[0]
        body = [Figure(f, "") if isinstance(f, go.Figure) else f for f in part.figures]
        sections.insert(0, Section(f"{subject.name}: {words}", body))
    return replace(part, claims=claims, figures=(), sections=sections)


def _together(
    comparisons: Sequence[Comparison | str], subjects: Sequence[Subject], texts: Any
) -> tuple[list[tuple[Comparison, Part]], dict[str, str]]:
    """Comparisons with their parts, and the errors of those that failed by their names."""
    parts: list[tuple[Comparison, Part]] = []
    failed: dict[str, str] = {}
    for comparison in map(resolved, comparisons if len(subjects) > 1 else ()):
        try:
            parts.append((comparison, comparison(subjects, texts)))
        except Exception as error:
            failed[comparison.__name__] = _told(comparison.__name__, error)
    return parts, failed


def _told(name: str, error: Exception) -> str:
    """The error in a line, which is printed with its traceback."""
    line = "".join(traceback.format_exception_only(error)).strip()
    print(f"{name} failed: {line}", file=sys.stderr)
    traceback.print_exception(error, file=sys.stderr)
    return line


def _registration(study: str, config: RunConfig, texts: Any) -> "Registration | None":
    """What was registered, which the run must be."""
    if config.registered is None:
        return None
    from interp.study._registration import Registration

    registration = Registration.open(config.registered)
    registration.check(study, config, texts)
    return registration


def _marked(
    registration: "Registration | None", question: Callable[..., Any], part: Part
) -> Sequence[Claim]:
    return part.claims if registration is None else registration.marked(question, part.claims)


def _in_words(subject: Subject, outcome: Outcome) -> Section:
    words = [sentence for part in outcome.parts[subject.name] for sentence in part.words]
    claims = about(outcome.claims, subject.name)
    return Section(f"{subject.name}: in words", [*words, *(c.sentence() for c in claims)])
