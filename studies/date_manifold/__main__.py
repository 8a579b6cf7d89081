"""Where does a language model hold a date as a circle? `python -m studies.date_manifold --help`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from interp.claims import Claim, about, as_records, judged
from interp.extract import Stores
from interp.model import check_models, depth_names, load, source, untrained
from interp.report import Section, render
from interp.run import Run, StudyConfig, run_command
from interp.store import Store, by_position
from studies.date_manifold import figures, findings
from studies.date_manifold.activations import landmark_attention, read
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection, detect
from studies.date_manifold.further import intervene, investigate
from studies.date_manifold.scoring import Layout, Settings
from studies.date_manifold.tasks import Task, from_file, generate

ENOUGH = 200
"""Permutations for each model with which ten findings can be supported."""


@dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
    """Supervised MDS of dates over blocks and words, and interventions, with nulls and controls."""

    task: Task = "birthday"
    """What the generated texts are about."""
    data: Path | None = None
    """Your own texts, CSV or JSONL (see README), in place of generated ones."""
    people: Literal[1, 2] = 1
    """2: a second person with another date in the same text, the control for recall (birthday)."""
    n: int = 1000
    """Generated texts."""
    folds: int = 3
    """Cross-validation folds, grouped by date."""
    permutations: int = 200
    """Permutations of the labels; no p value falls below 1 / (permutations + 1), and p values are
    corrected over a run's findings, ten a model: give 200 for each model."""
    orders: int = 20
    """Shuffled orders of the months."""
    alpha: float = 1.0
    """Ridge penalty of SMDS."""
    standardise: Literal["geometry", "all", "none"] = "geometry"
    """Standardise features by training rows: in experiments 2 to 4, in 1 to 4, or in none."""
    interventions: int = 40
    """Pairs of texts for patching, and texts for steering; 0 leaves interventions out."""
    depth: float = 60.0
    """Depth of experiment 2, shape discovery and roundness, in % of the blocks."""
    jobs: int | None = None
    """Processes that score cells; every core by default."""
    permute_dates: bool = False
    """Permute the labels among texts first: a run in which a cell survives in 5 % of seeds."""

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(permutations=40, orders=20, interventions=0)
        self.refuse_beside("data", "task", "people", "n")
        if not 0 <= self.depth <= 100:
            raise ValueError(f"depth = {self.depth}; choose from 0 to 100 % of the blocks")

    def texts(self) -> Dataset:
        """The dataset that the options describe."""
        if self.data is not None:
            given = from_file(self.data, group_near_copies=self.group_near_copies)
        else:
            given = generate(self.task, self.n, seed=self.seed, people=self.people)
        return given.permuted(self.seed) if self.permute_dates else given

    @property
    def settings(self) -> Settings:
        """How experiments are run."""
        return Settings(self.folds, self.permutations, self.orders, self.alpha, self.seed, self.jobs, self.depth, self.standardise, self.runs / "cache", self.backend)  # fmt: skip # noqa: E501


def main(config: Config) -> Path:
    """Run the study and return the path of its report."""
    settings = config.settings
    data = config.texts()  # what is wrong with a file is said before a directory is made
    check_models(config.model, config.device)
    _few_permutations(config)
    with Run("date_manifold", config, root=config.runs) as run:
        # 1. texts with a span for every word
        run.record("folds", data.made_of)
        run.record("texts", data.fingerprint())

        detections: list[Detection] = []
        claims: list[Claim] = []
        rows: list[dict[str, object]] = []
        sections: list[Section] = []
        for number, name in enumerate(config.model, start=1):
            # 2. activations at every depth and word, and one view of attention
            model = load(name, device=config.device)
            run.record(f"model {name}", source(model).as_dict())
            store = read(model, data, stores=Stores.of(config))
            view = landmark_attention(model, data)
            # 3. experiment 1, and what it establishes
            layout = Layout(name, depth_names(store.hooks), data.words)
            found = detect(layout, partial(by_position, store), data, settings)
            caused, outcome = intervene(model, found, store, data, settings, pairs=config.interventions, batch_size=config.batch_size)  # fmt: skip # noqa: E501
            del model
            places = {w: _landmark(store, found.best(w), w, data, settings) for w in (data.source, data.destination)}  # fmt: skip # noqa: E501
            embedding = _landmark(store, 0, data.source, data, settings)
            made = findings.claims(found, places, embedding, data, causal_test=outcome)
            run.save_table(f"cells-{number}", found.table())
            shown = figures.sections(found, places, data, view)
            # 4. experiments 2 to 4, shapes and binding, and what the interventions showed
            row: dict[str, object] = {}
            for part in (*investigate(found, store, data, settings), *caused):
                made += part.claims
                shown += part.sections
                row |= part.row
                for table, frame in part.tables.items():
                    run.save_table(f"{table}-{number}", frame)
            claims, sections = claims + made, sections + shown
            detections.append(found)
            rows.append(row)

        # 5. verdicts, corrected over all models' findings, results and report
        claims = judged(claims, untrained=untrained(config.model))
        summaries = [_in_words(found, claims) for found in detections]
        run.save_results({"claims": as_records(claims)})
        compared = figures.comparison(detections, rows, data, config.depth)
        page = render(
            f"Where does a language model hold {figures.article(data)}, and in what shape?",
            as_records(claims),
            [figures.method(data, settings), *summaries, compared, *sections],
            introduction=f"{len(data.samples)} texts; models: {', '.join(config.model)}",
            facts=run.summary(),
        )
        return run.save_report(page)


def _few_permutations(config: Config) -> None:
    """Say on stderr that no finding could be supported."""
    enough = ENOUGH * len(config.model)
    if config.permutations < enough:
        print(
            f"{config.permutations} permutations for {len(config.model)} models: their least p, "
            f"corrected over ten findings a model, is above .05; --permutations {enough} would do",
            file=sys.stderr,
        )


def _in_words(found: Detection, claims: Sequence[Claim]) -> Section:
    name = found.layout.model
    return Section(f"{name}: in words", findings.summary(found, about(claims, name)))


def _landmark(store: Store, row: int, word: str, data: Dataset, settings: Settings):
    cell = store.read(store.hooks[row])[:, store.positions.index(word)]
    return findings.landmark(cell, word, row, data, settings)


if __name__ == "__main__":
    run_command(main, Config, prog="python -m studies.date_manifold", description=__doc__ or "")
