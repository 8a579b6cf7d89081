"""Do models keep two speakers apart, and where? `python -m studies.speaker_role --help`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from transformer_lens.model_bridge import TransformerBridge

from interp.claims import Claim, about, as_records, judged
from interp.duplicates import equal_texts
from interp.extract import Stores
from interp.model import check_models, load, source, untrained
from interp.positions import Sample, fingerprint
from interp.report import Section, render
from interp.run import Run, StudyConfig, run_command
from studies.speaker_role import figures, findings
from studies.speaker_role.activations import read, tag_attention
from studies.speaker_role.causal import intervene
from studies.speaker_role.data import Conversation, Design, conversations, from_file
from studies.speaker_role.probing import Probing, Settings, probe
from studies.speaker_role.transcripts import Transcript, exchanged, shipped, split
from studies.speaker_role.transcripts import read as read_transcript

DEPTHS = {"quarters": (0, 25, 50, 75, 100), "all": ()}
"""Depths in %; none stands for all."""


@dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
    """Linear probes for the speaker over depths and roles of a token, with nulls and baselines."""

    transcript: tuple[Path, ...] = ()
    """Your own transcripts ("Name: text" lines, the same speakers in all) for those shipped."""
    data: Path | None = None
    """Your own texts with spans and labels, CSV or JSONL (see README), in place of transcripts."""
    arrangement: Literal["random", "as_written"] = "random"
    """Deal utterances and speakers at random, or keep the order and speakers of the transcripts."""
    copies: int = 2
    """Random arrangements of each transcript; each is read with the names exchanged as well."""
    format: Literal["plain", "chat"] = "plain"
    """Lines of "Name: text", or the tokenizer's chat template."""
    verbs: tuple[str, ...] = ("am", "will", "can", "should", "think", "like", "want")
    """What counts as a verb, ignoring case."""
    blocks: Literal["quarters", "all"] = "quarters"
    """Depths: 0, 25, 50, 75 and 100 %, or every block."""
    folds: int = 4
    """Cross-validation folds of whole transcripts; no more than there are transcripts."""
    permutations: int = 200
    """Permutations of speakers among turns; no p value falls below 1 / (permutations + 1)."""
    ablations: int = 40
    """Random directions that ablating the speaker's is held to; 0 leaves the ablation out."""
    C: float = 0.01
    """Inverse strength of the probes' L2 penalty."""
    batch_size: int = 8
    """Texts per forward pass."""
    jobs: int | None = None
    """Processes that fit probes; every core by default."""

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(permutations=40)
        if self.ablations and self.ablations < 40:
            raise ValueError(f"ablations = {self.ablations}; give 40 or more, or 0 for none")
        if self.data is not None and self.transcript:
            raise ValueError("data and transcript exclude each other; give one of them")
        self.refuse_beside("data", "arrangement", "copies", "format", "verbs", "ablations")

    @property
    def design(self) -> Design:
        """How conversations are made."""
        return Design(self.arrangement, self.copies, self.seed, self.verbs, self.format)


def main(config: Config) -> Path:
    """Run the study and return the path of its report."""
    # what is wrong with files and names is said before a directory is made and a model is loaded
    given = [read_transcript(path) for path in config.transcript] or shipped()
    _check(given, config)
    check_models(config.model, config.device)
    with Run("speaker_role", config, root=config.runs) as run:
        # 1. transcripts
        keep = partial(read, depths=DEPTHS[config.blocks], stores=Stores.of(config))
        every: list[Probing] = []
        claims: list[Claim] = []
        sections: list[Section] = []
        for number, name in enumerate(config.model, start=1):
            # 2. conversations that fit this model, and a row of activations for every token
            model = load(name, device=config.device)
            run.record(f"model {name}", source(model).as_dict())
            talks, naive = _conversations(model, given, config)
            run.record(f"texts {name}", fingerprint([Sample(t.text, {}) for t in talks]))
            tokens, single = keep(model, talks), None if naive is None else keep(model, [naive])
            view = tag_attention(model, naive or talks[0])
            # 3. probes and directions
            folds = min(config.folds, len(set(tokens.group.tolist())))
            settings = Settings(folds, config.permutations, config.C, config.seed, config.jobs, config.runs / "cache", config.backend)  # fmt: skip # noqa: E501
            found = probe(name, tokens, single, settings)
            run.save_table(f"cells-{number}", found.table())
            # 4. the direction ablated, and what all of it establishes
            more, tables, outcome = intervene(model, [] if config.data else given, config.design, found, settings, n=config.ablations, batch_size=config.batch_size)  # fmt: skip # noqa: E501
            del model
            made = findings.claims(found, causal_test=outcome) + more
            claims, sections = claims + made, sections + figures.sections(found, view, config.seed) + tables  # fmt: skip # noqa: E501
            every.append(found)
        if len(every) > 1:
            claims.append(findings.peaks(every))

        # 5. verdicts, corrected over all models' findings, results and report
        claims = judged(claims, untrained=untrained(config.model))
        summaries = [_in_words(found, claims) for found in every]
        run.save_results({"claims": as_records(claims)})
        page = render(
            "Do language models keep two speakers apart, and where?",
            as_records(claims),
            [figures.method(config.design, every), *summaries, *sections],
            introduction=f"models: {', '.join(config.model)}",
            facts=run.summary(),
        )
        return run.save_report(page)


def _in_words(found: Probing, claims: Sequence[Claim]) -> Section:
    told = findings.summary(found, about(claims, found.model))
    return Section(f"{found.model}: in words", told)


def _check(given: Sequence[Transcript], config: Config) -> None:
    """Refuse what could not be studied, by what needs no model.

    Raises:
        ValueError: speakers that differ between transcripts, or two equal transcripts.
    """
    if config.data is not None:
        from_file(config.data, group_near_copies=config.group_near_copies)
        return
    conversations(given, Design("as_written", 1, config.seed, config.verbs, "plain"))
    said = [" ".join(turn.text for turn in transcript.turns) for transcript in given]
    equal = equal_texts(said)
    if len(equal.copies):
        copy, first = equal.copies[0]
        raise ValueError(
            f"transcripts {given[first].name!r} and {given[copy].name!r} are equal; a copy is no "
            "second transcript"
        )


def _conversations(
    model: TransformerBridge, given: Sequence[Transcript], config: Config
) -> tuple[list[Conversation], Conversation | None]:
    """The conversations, cut where they exceed the context, and one transcript as written."""
    if config.data is not None:
        return from_file(config.data, group_near_copies=config.group_near_copies), None
    design = config.design
    if len(given) == 1:
        # arrangements of one transcript are no further ones, and would mix up its stretches
        design = replace(design, arrangement="as_written", copies=1)
    render = config.design.renderer(model.tokenizer)

    def fits(transcript: Transcript) -> bool:
        # Dealt anew or with names exchanged a text has a few tokens more or less.
        texts = [render(each).text for each in (transcript, exchanged(transcript))]
        return max(map(len, model.tokenizer(texts)["input_ids"])) <= 0.98 * model.cfg.n_ctx

    pieces = [piece for transcript in given for piece in split(transcript, fits)]
    as_written = Design("as_written", 1, config.seed, config.verbs, config.format)
    made = conversations(pieces, design, tokenizer=model.tokenizer)
    return made, conversations(pieces[:1], as_written, tokenizer=model.tokenizer)[0]


if __name__ == "__main__":
    run_command(main, Config, prog="python -m studies.speaker_role", description=__doc__ or "")
