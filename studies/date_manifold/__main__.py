"""Where does a language model hold a date as a circle? `python -m studies.date_manifold --help`."""

from dataclasses import dataclass
from pathlib import Path

from interp.claims import Claim, as_records
from interp.model import load, source
from interp.report import Section, render
from interp.run import Run, parse
from interp.store import Store, by_position
from studies.date_manifold import figures, findings
from studies.date_manifold.activations import birthday_attention, depths, read
from studies.date_manifold.data import DESTINATION, SOURCE, Dates, generate
from studies.date_manifold.detection import Detection, Settings, detect


@dataclass(frozen=True)
class Config:
    """Supervised MDS of dates over blocks and words, with its nulls and controls."""

    model: tuple[str, ...] = ("smollm2-135m",)
    """One or more models: a local name (python -m interp.model list), directory, GGUF or hub id."""
    n: int = 1000
    """Sentences."""
    folds: int = 3
    """Cross-validation folds, grouped by date."""
    permutations: int = 200
    """Permutations of the dates; no p value falls below 1 / (permutations + 1)."""
    orders: int = 20
    """Shuffled orders of the months."""
    alpha: float = 1.0
    """Ridge penalty of SMDS."""
    seed: int = 42
    """Of sentences, folds, permutations and orders."""
    batch_size: int = 16
    """Sentences per forward pass."""
    device: str | None = None
    """Where the model runs; the first GPU if there is one, else the CPU."""
    jobs: int | None = None
    """Processes that score cells; every core by default."""
    permute_dates: bool = False
    """Permute the dates among sentences first: a run in which a cell survives in 5 % of seeds."""
    runs: Path = Path("runs")
    """Directory of run directories."""
    store: Path = Path("runs/stores")
    """Directory of activation stores, which later runs on the same sentences read again."""

    def __post_init__(self):
        if not self.model or len(set(self.model)) < len(self.model):
            raise ValueError(f"model = {self.model}; name one or more models, each once")
        if self.permutations < 40:
            raise ValueError(f"permutations = {self.permutations}; a 5 % test needs at least 40")
        if self.orders < 20:
            raise ValueError(f"orders = {self.orders}; a 5 % test needs at least 20")


def main(config: Config) -> Path:
    """Run the study and return the path of its report."""
    settings = Settings(config.folds, config.permutations, config.orders, config.alpha, config.seed, config.jobs)  # fmt: skip # noqa: E501
    with Run("date_manifold", config, root=config.runs) as run:
        # 1. sentences with a span for every word
        dates = generate(config.n, seed=config.seed)
        if config.permute_dates:
            dates = dates.permuted(config.seed)
        run.record("sentences", dates.fingerprint())

        detections: list[Detection] = []
        claims: list[Claim] = []
        sections: list[Section] = []
        summaries: list[Section] = []
        for name in config.model:
            # 2. activations at every depth and word, and one view of attention
            model = load(name, device=config.device)
            run.record(f"model {name}", source(model).as_dict())
            store = read(model, dates, out=config.store, batch_size=config.batch_size)
            view = birthday_attention(model, dates)
            del model
            # 3. experiment 1
            found = detect(name, depths(store), by_position(store), dates, settings)
            # 4. what it establishes
            places = {w: _landmark(store, found.best(w), w, dates, settings) for w in (SOURCE, DESTINATION)}  # fmt: skip # noqa: E501
            embedding = _landmark(store, 0, SOURCE, dates, settings)
            made = findings.claims(found, places, embedding, dates, settings)
            claims += made
            words = findings.summary(found, made)
            summaries.append(Section(f"{name}: in words", words))
            sections += figures.sections(found, places, dates, view)
            detections.append(found)
            run.save_table(f"cells-{len(detections)}", found.table())

        # 5. results and report
        run.save_results({"claims": as_records(claims)})
        page = render(
            "Where does a language model hold a date as a circle?",
            as_records(claims),
            [
                _method(dates, config),
                *summaries,
                figures.comparison(detections),
                *sections,
            ],
            introduction=f"{config.n} sentences; models: {', '.join(config.model)}",
            facts=run.summary(),
        )
        return run.save_report(page)


def _landmark(store: Store, row: int, word: str, dates: Dates, settings: Settings):
    cell = store.read(store.hooks[row])[:, store.positions.index(word)]
    return findings.landmark(cell, word, row, dates, settings)


def _method(dates: Dates, config: Config) -> Section:
    return Section(
        "What was done",
        [
            f"A sentence of the {config.n}: “{dates.samples[0].text}”",
            f"At every depth and word the residual stream is mapped to the circle of the year by "
            f"supervised multidimensional scaling, fitted and scored on different dates "
            f"({config.folds} folds). Three things are held against it: {config.permutations} "
            f"permutations of the dates among the sentences, {config.orders} shuffled orders of "
            f"the months, and the prediction of months that were left out.",
        ],
    )


if __name__ == "__main__":
    print(main(parse(Config, prog="python -m studies.date_manifold", description=__doc__ or "")))
