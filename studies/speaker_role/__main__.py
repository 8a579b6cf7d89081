"""Do models keep two speakers apart, and where? `python -m studies.speaker_role --help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from interp import study

Arrangement = Literal["random", "as_written"]
"""Order and speakers of the utterances: dealt at random, or left as the transcript has them."""

Format = Literal["plain", "chat"]
"""How a conversation is written: lines of `Name: text`, or the tokenizer's chat template."""


@dataclass(frozen=True, kw_only=True)
class Config(study.Config):
    """Linear probes for the speaker over depths and roles of a token, with nulls and baselines."""

    transcript: tuple[Path, ...] = ()
    """Your own transcripts ("Name: text" lines, the same speakers in all) for those shipped."""
    data: Path | None = None
    """Your own texts with spans and labels, CSV or JSONL (see README), in place of transcripts."""
    arrangement: Arrangement = "random"
    """Deal utterances and speakers at random, or keep the order and speakers of the transcripts."""
    copies: int = 2
    """Random arrangements of each transcript; each is read with the names exchanged as well."""
    format: Format = "plain"
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
        if self.copies < 1:
            raise ValueError(f"copies = {self.copies}; a transcript needs at least 1")
        for name, choices in (("arrangement", Arrangement), ("format", Format)):
            if getattr(self, name) not in get_args(choices):
                valid = ", ".join(get_args(choices))
                raise ValueError(f"{name} {getattr(self, name)!r}; valid are {valid}")


STUDY = study.Study(
    name="speaker_role",
    config=Config,
    texts="studies.speaker_role.data:texts",
    questions=[
        "studies.speaker_role.probing:told_apart",
        "studies.speaker_role.naive:exchanged",
        "studies.speaker_role.direction:linear",
        "studies.speaker_role.naive:naive_design",
        "studies.speaker_role.naive:pictures",
        "studies.speaker_role.tokens:attention_to_tags",
        "studies.speaker_role.direction:ablated",
    ],
    comparisons=["studies.speaker_role.probing:peaks"],
    method="studies.speaker_role.tokens:method",
    title="Do language models keep two speakers apart, and where?",
)

if __name__ == "__main__":
    STUDY.main(prog="python -m studies.speaker_role", description=__doc__ or "")
