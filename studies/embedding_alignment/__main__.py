"""Where does cross-lingual alignment come from? `python -m studies.embedding_alignment --help`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interp.claims import Claim, about, as_records, judged
from interp.extract import Stores
from interp.model import check_models, load, source, untrained
from interp.report import Section, render
from interp.run import Run, StudyConfig, run_command
from studies.embedding_alignment import figures, findings, overview
from studies.embedding_alignment.activations import read
from studies.embedding_alignment.measuring import Measured, Settings, measure
from studies.embedding_alignment.problems import Pairs, from_file, generate
from studies.embedding_alignment.tokens import pool


@dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
    """Pairs of texts in two languages against scrambled pairs, at every block and pooling."""

    pairs: Path | None = None
    """Your own pairs, CSV or JSONL with a column per language and perhaps "category"."""
    n: int = 200
    """Generated pairs: Chinese and English mathematics problems in five categories."""
    resamples: int = 1000
    """Resamples of pairs for 95 % intervals; at least 100."""
    folds: int = 5
    """Folds of the held-out rotation."""

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(resamples=100, folds=2)
        self.refuse_beside("pairs", "n")

    def texts(self) -> Pairs:
        """The pairs that the options describe."""
        return generate(self.n, seed=self.seed) if self.pairs is None else from_file(self.pairs)


def main(config: Config) -> Path:
    """Run the study and return the path of its report."""
    settings = Settings(config.resamples, config.folds, config.seed)
    pairs = config.texts()  # what is wrong with a file is said before a directory is made
    check_models(config.model, config.device)
    with Run("embedding_alignment", config, root=config.runs) as run:
        # 1. pairs of texts
        run.record("pairs", pairs.fingerprint())

        every: list[Measured] = []
        claims: list[Claim] = []
        sections: list[Section] = []
        for number, name in enumerate(config.model, start=1):
            # 2. their tokens, by kind, and activations of every pooling at every hook
            model = load(name, device=config.device)
            run.record(f"model {name}", source(model).as_dict())
            poolings = pool(model.tokenizer, pairs)
            run.save_table(f"tokens-{number}", poolings.counts)
            sides = read(model, poolings, stores=Stores.of(config))
            del model
            # 3. pairs against scrambled pairs
            found = measure(name, sides, pairs, poolings, settings)
            run.save_table(f"cells-{number}", found.table())
            # 4. what it establishes
            made = findings.claims(found)
            sections += figures.sections(found)
            claims += made
            every.append(found)

        # 5. verdicts, corrected over all models' findings, results and report
        claims = judged(claims, untrained=untrained(config.model))
        summaries = [_in_words(found, claims) for found in every]
        run.save_results({"claims": as_records(claims)})
        page = render(
            "Where does cross-lingual alignment come from?",
            as_records(claims),
            [overview.method(pairs, settings, every), *summaries, *sections],
            introduction=f"{len(pairs)} pairs, {' and '.join(pairs.languages)}; "
            f"models: {', '.join(config.model)}",
            facts=run.summary(),
        )
        return run.save_report(page)


def _in_words(found: Measured, claims: Sequence[Claim]) -> Section:
    told = findings.summary(found, about(claims, found.model))
    return Section(f"{found.model}: in words", told)


if __name__ == "__main__":
    run_command(
        main, Config, prog="python -m studies.embedding_alignment", description=__doc__ or ""
    )
