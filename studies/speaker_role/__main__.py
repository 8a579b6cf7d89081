"""Do models keep two speakers apart, and where? `python -m studies.speaker_role --help`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformer_lens.model_bridge import TransformerBridge

from interp.claims import Claim, as_records
from interp.model import load, source
from interp.positions import Sample, fingerprint
from interp.report import Section, render
from interp.run import Run, parse
from studies.speaker_role import figures, findings
from studies.speaker_role.activations import Tokens, read, tag_attention
from studies.speaker_role.data import Conversation, Design, conversations, from_file
from studies.speaker_role.probing import Probing, Settings, probe
from studies.speaker_role.transcripts import Transcript, exchanged, shipped, split
from studies.speaker_role.transcripts import read as read_transcript

DEPTHS = {"quarters": (0, 25, 50, 75, 100), "all": ()}
"""Depths in %; none stands for all."""


@dataclass(frozen=True)
class Config:
    """Linear probes for the speaker over depths and roles of a token, with nulls and baselines."""

    model: tuple[str, ...] = ("smollm2-135m",)
    """One or more models: a local name (python -m interp.model list), directory, GGUF or hub id."""
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
    C: float = 0.01
    """Inverse strength of the probes' L2 penalty."""
    seed: int = 42
    """Of arrangements, folds, permutations and pictures."""
    batch_size: int = 8
    """Texts per forward pass."""
    device: str | None = None
    """Where the model runs; the first GPU if there is one, else the CPU."""
    jobs: int | None = None
    """Processes that fit probes; every core by default."""
    runs: Path = Path("runs")
    """Directory of run directories."""
    store: Path = Path("runs/stores")
    """Directory of activation stores, which later runs on the same texts read again."""

    def __post_init__(self):
        if not self.model or len(set(self.model)) < len(self.model):
            raise ValueError(f"model = {self.model}; name one or more models, each once")
        if self.permutations < 40:
            raise ValueError(f"permutations = {self.permutations}; a 5 % test needs at least 40")
        if self.data is not None and self.transcript:
            raise ValueError("data and transcript exclude each other; give one of them")

    @property
    def design(self) -> Design:
        """How conversations are made."""
        return Design(self.arrangement, self.copies, self.seed, self.verbs, self.format)


def main(config: Config) -> Path:
    """Run the study and return the path of its report."""
    with Run("speaker_role", config, root=config.runs) as run:
        # 1. transcripts
        given = [read_transcript(path) for path in config.transcript] or shipped()
        every: list[Probing] = []
        claims: list[Claim] = []
        sections: list[Section] = []
        summaries: list[Section] = []
        for number, name in enumerate(config.model, start=1):
            # 2. conversations that fit this model, and a row of activations for every token
            model = load(name, device=config.device)
            run.record(f"model {name}", source(model).as_dict())
            talks, naive = _conversations(model, given, config)
            run.record(f"texts {name}", fingerprint([Sample(t.text, {}) for t in talks]))
            tokens = _read(model, talks, config)
            single = None if naive is None else _read(model, [naive], config)
            view = tag_attention(model, naive or talks[0])
            del model
            # 3. probes and directions
            folds = min(config.folds, len(set(tokens.group.tolist())))
            settings = Settings(folds, config.permutations, config.C, config.seed, config.jobs)
            found = probe(name, tokens, single, settings)
            run.save_table(f"cells-{number}", found.table())
            # 4. what they establish
            made = findings.claims(found)
            summaries.append(Section(f"{name}: in words", findings.summary(found, made)))
            sections += figures.sections(found, view, config.seed)
            claims += made
            every.append(found)
        if len(every) > 1:
            claims.append(findings.peaks(every))

        # 5. results and report
        run.save_results({"claims": as_records(claims)})
        page = render(
            "Do language models keep two speakers apart, and where?",
            as_records(claims),
            [figures.method(config.design, every), *summaries, *sections],
            introduction=f"models: {', '.join(config.model)}",
            facts=run.summary(),
        )
        return run.save_report(page)


def _conversations(
    model: TransformerBridge, given: Sequence[Transcript], config: Config
) -> tuple[list[Conversation], Conversation | None]:
    """The conversations, cut where they exceed the context, and one transcript as written."""
    if config.data is not None:
        return from_file(config.data), None
    render = config.design.renderer(model.tokenizer)

    def fits(transcript: Transcript) -> bool:
        # Dealt anew or with names exchanged a text has a few tokens more or less.
        texts = [render(each).text for each in (transcript, exchanged(transcript))]
        return max(map(len, model.tokenizer(texts)["input_ids"])) <= 0.98 * model.cfg.n_ctx

    pieces = [piece for transcript in given for piece in split(transcript, fits)]
    as_written = Design("as_written", 1, config.seed, config.verbs, config.format)
    made = conversations(pieces, config.design, tokenizer=model.tokenizer)
    return made, conversations(pieces[:1], as_written, tokenizer=model.tokenizer)[0]


def _read(model: TransformerBridge, talks: Sequence[Conversation], config: Config) -> Tokens:
    return read(
        model, talks, depths=DEPTHS[config.blocks], out=config.store, batch_size=config.batch_size
    )


if __name__ == "__main__":
    print(main(parse(Config, prog="python -m studies.speaker_role", description=__doc__ or "")))
