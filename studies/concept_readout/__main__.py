"""Which concepts can be read from a model, and do the vectors act?
`python -m studies.concept_readout --help`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from interp.claims import Claim, about, as_records
from interp.claims import judged as corrected
from interp.extract import Stores
from interp.model import check_models, load, source, untrained
from interp.readout import save_concepts, save_control_vectors, save_quality, save_readouts
from interp.report import Section, render
from interp.run import Run, StudyConfig, run_command
from studies.concept_readout import figures, findings, overview
from studies.concept_readout.activations import attention_blocks, read
from studies.concept_readout.corpus import Corpus, read_corpus, shipped
from studies.concept_readout.judging import Judged, judge
from studies.concept_readout.preflight import check, plan_blocks
from studies.concept_readout.steering import Settings, run_steering


@dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
    """A vector per concept and block from a folder of short texts: judged, exported, steered by."""

    stories: Path | None = None
    """Directory of <concept>.txt; without any directory, the synthetic texts of the study."""
    paired: Path | None = None
    """Directory of <scenario>/<concept>.txt and <scenario>/baseline.txt."""
    target_layers: tuple[int, ...] = ()
    """Blocks to read, from 0; those nearest 25, 50, 60, 75 and 90 % of the depth by default."""
    output: Path | None = None
    """Directory of the export; `export` in the run directory by default."""
    overwrite: bool = False
    """Replace an export that `output` already holds."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the model's weights; auto: bfloat16 on a GPU, float32 on a CPU."""
    batch_size: int = 2
    """Texts per forward pass."""
    max_length: int = 512
    """Tokens at which a text is cut; texts that were cut are counted and named."""
    minimum: int = 1
    """Positive texts that a concept needs."""
    quality_report: bool = True
    """Judge spread, alignment, neurons, neighbours and heads, and write quality.json."""
    permutations: int = 200
    """Dealings of the labels; no p value falls below 1 / (permutations + 1)."""
    directions: int = 200
    """Random directions that steering is held against, and as many vectors of dealt labels; 0: no
    steering."""
    rows: int = 32
    """Directions side by side in one forward pass."""

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(permutations=40, max_length=1, rows=1, minimum=1)
        if 0 < self.directions < 40:
            raise ValueError(f"directions = {self.directions}; a 5 % test needs at least 40, or 0")

    def texts(self) -> Corpus:
        """The corpus that the options describe."""
        if self.stories is None and self.paired is None:
            return shipped()
        return read_corpus(self.stories, self.paired, minimum=self.minimum)

    def folder(self, name: str, run: Path) -> Path:
        """Directory of one model's export: `output` itself for a single model."""
        root = run / "export" if self.output is None else self.output
        return root if len(self.model) == 1 else root / Path(name).stem


def main(config: Config) -> Path:
    """Run the study and return the path of its report."""
    # 1. texts, and all that can be refused before a model is loaded
    corpus = config.texts()
    for name in config.model if config.output is not None else ():
        check(corpus, config.folder(name, Path()), config.target_layers, overwrite=config.overwrite)
    notices = check(corpus, None, config.target_layers)
    print(*notices, sep="\n", file=sys.stderr)
    check_models(config.model, config.device)
    with Run("concept_readout", config, root=config.runs) as run:
        run.record("corpus", corpus.fingerprint())
        every: list[Judged] = []
        claims: list[Claim] = []
        sections: list[Section] = []
        told: list[tuple[str, ...]] = []
        for number, name in enumerate(config.model, start=1):
            # 2. last-token activations at the target blocks, residuals and heads in one pass
            dtype = None if config.dtype == "auto" else getattr(torch, config.dtype)
            model = load(name, device=config.device, dtype=dtype)
            run.record(f"model {name}", source(model).as_dict())
            targets = plan_blocks(config.target_layers, model.cfg.n_layers, attention_blocks(model))
            print(f"{name}:", *targets.notices, sep="\n  ", file=sys.stderr)
            readings = read(model, corpus, targets.blocks, max_length=config.max_length, stores=Stores.of(config))  # fmt: skip # noqa: E501
            # 3. vectors, judged on scenarios they were not fitted on
            judged = judge(name, model, corpus, readings, targets.depths, minimum=config.minimum, permutations=config.permutations, seed=config.seed, report=config.quality_report)  # fmt: skip # noqa: E501
            run.save_table(f"cells-{number}", judged.table())
            # 4. the export
            export(config.folder(name, run.path), judged, str(model.cfg.architecture))
            # 5. steering, and what it all establishes
            steered = None
            if config.directions:
                settings = Settings(config.directions, config.rows, config.seed)
                steered = run_steering(model, judged, settings)
            del model
            made = findings.claims(judged, steered)
            told.append((*notices, *targets.notices))
            sections += figures.sections(judged, steered)
            claims += made
            every.append(judged)
        # 6. verdicts, corrected over all models' findings, results and report
        claims = corrected(claims, untrained=untrained(config.model))
        summaries = [_in_words(one, claims, said) for one, said in zip(every, told, strict=True)]
        run.save_results({"claims": as_records(claims)})
        page = render(
            "Which concepts can be read from a model, and do the vectors act?",
            as_records(claims),
            [overview.method(corpus, every), *summaries, *sections],
            introduction=f"{len(corpus.concepts)} concepts, {len(corpus.texts)} texts; models: "
            f"{', '.join(config.model)}",
            facts=run.summary(),
        )
        return run.save_report(page)


def _in_words(judged: Judged, claims: Sequence[Claim], notices: tuple[str, ...]) -> Section:
    told = findings.summary(judged, about(claims, judged.model), notices)
    return Section(f"{judged.model}: in words", told)


def export(folder: Path, judged: Judged, architecture: str) -> None:
    """Every form of the vectors, and the quality report where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    save_readouts(folder, judged.readouts)
    save_concepts(folder, judged.readouts)
    save_control_vectors(folder, judged.readouts, model_hint=architecture)
    if judged.triage is not None:
        save_quality(folder, judged.report())


if __name__ == "__main__":
    run_command(main, Config, prog="python -m studies.concept_readout", description=__doc__ or "")
