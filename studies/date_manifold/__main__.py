"""Where does a language model hold a date as a circle? `python -m studies.date_manifold --help`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from interp.claims import Claim, as_records
from interp.model import load, source
from interp.report import Section, render
from interp.run import Run, parse
from interp.store import Store, by_position
from studies.date_manifold import figures, findings
from studies.date_manifold.activations import depths, landmark_attention, read
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection, detect
from studies.date_manifold.further import investigate
from studies.date_manifold.scoring import Layout, Settings
from studies.date_manifold.tasks import Task, from_file, generate


@dataclass(frozen=True)
class Config:
    """Supervised MDS of dates over blocks and words: four experiments, with nulls and controls."""

    model: tuple[str, ...] = ("smollm2-135m",)
    """One or more models: a local name (python -m interp.model list), directory, GGUF or hub id."""
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
    """Permutations of the labels; no p value falls below 1 / (permutations + 1)."""
    orders: int = 20
    """Shuffled orders of the months."""
    alpha: float = 1.0
    """Ridge penalty of SMDS."""
    standardise: Literal["geometry", "all", "none"] = "geometry"
    """Standardise features by training rows: in experiments 2 to 4, in all four, or in none."""
    depth: float = 60.0
    """Depth of experiment 2, shape discovery and roundness, in % of the blocks."""
    seed: int = 42
    """Of texts, folds, permutations and orders."""
    batch_size: int = 16
    """Texts per forward pass."""
    device: str | None = None
    """Where the model runs; the first GPU if there is one, else the CPU."""
    jobs: int | None = None
    """Processes that score cells; every core by default."""
    permute_dates: bool = False
    """Permute the labels among texts first: a run in which a cell survives in 5 % of seeds."""
    runs: Path = Path("runs")
    """Directory of run directories."""
    store: Path = Path("runs/stores")
    """Directory of activation stores, which later runs on the same texts read again."""

    def __post_init__(self):
        if not self.model or len(set(self.model)) < len(self.model):
            raise ValueError(f"model = {self.model}; name one or more models, each once")
        if self.permutations < 40:
            raise ValueError(f"permutations = {self.permutations}; a 5 % test needs at least 40")
        if self.orders < 20:
            raise ValueError(f"orders = {self.orders}; a 5 % test needs at least 20")
        if not 0 <= self.depth <= 100:
            raise ValueError(f"depth = {self.depth}; choose from 0 to 100 % of the blocks")

    def texts(self) -> Dataset:
        """The dataset that the options describe."""
        given = generate(self.task, self.n, seed=self.seed, people=self.people) if self.data is None else from_file(self.data)  # fmt: skip # noqa: E501
        return given.permuted(self.seed) if self.permute_dates else given

    @property
    def settings(self) -> Settings:
        """How experiments are run."""
        return Settings(self.folds, self.permutations, self.orders, self.alpha, self.seed, self.jobs, self.depth, self.standardise)  # fmt: skip # noqa: E501


def main(config: Config) -> Path:
    """Run the study and return the path of its report."""
    settings = config.settings
    with Run("date_manifold", config, root=config.runs) as run:
        # 1. texts with a span for every word
        data = config.texts()
        run.record("texts", data.fingerprint())

        detections: list[Detection] = []
        claims: list[Claim] = []
        rows: list[dict[str, object]] = []
        sections: list[Section] = []
        summaries: list[Section] = []
        for number, name in enumerate(config.model, start=1):
            # 2. activations at every depth and word, and one view of attention
            model = load(name, device=config.device)
            run.record(f"model {name}", source(model).as_dict())
            store = read(model, data, out=config.store, batch_size=config.batch_size)
            view = landmark_attention(model, data)
            del model
            # 3. experiment 1, and what it establishes
            layout = Layout(name, depths(store), data.words)
            found = detect(layout, partial(by_position, store), data, settings)
            places = {w: _landmark(store, found.best(w), w, data, settings) for w in (data.source, data.destination)}  # fmt: skip # noqa: E501
            embedding = _landmark(store, 0, data.source, data, settings)
            made = findings.claims(found, places, embedding, data, settings)
            run.save_table(f"cells-{number}", found.table())
            shown = figures.sections(found, places, data, view)
            # 4. experiments 2 to 4, shapes and binding
            row: dict[str, object] = {}
            for part in investigate(found, store, data, settings):
                made += part.claims
                shown += part.sections
                row |= part.row
                for table, frame in part.tables.items():
                    run.save_table(f"{table}-{number}", frame)
            summaries.append(Section(f"{name}: in words", findings.summary(found, made)))
            claims, sections = claims + made, sections + shown
            detections.append(found)
            rows.append(row)

        # 5. results and report
        run.save_results({"claims": as_records(claims)})
        page = render(
            f"Where does a language model hold {figures.article(data)}, and in what shape?",
            as_records(claims),
            [
                figures.method(data, settings),
                *summaries,
                figures.comparison(detections, rows, data, config.depth),
                *sections,
            ],  # fmt: skip # noqa: E501
            introduction=f"{len(data.samples)} texts; models: {', '.join(config.model)}",
            facts=run.summary(),
        )
        return run.save_report(page)


def _landmark(store: Store, row: int, word: str, data: Dataset, settings: Settings):
    cell = store.read(store.hooks[row])[:, store.positions.index(word)]
    return findings.landmark(cell, word, row, data, settings)


if __name__ == "__main__":
    print(main(parse(Config, prog="python -m studies.date_manifold", description=__doc__ or "")))
