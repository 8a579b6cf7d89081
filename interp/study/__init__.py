"""The one runner of studies: a study is texts and questions, asked of one model after another.

    @dataclass(frozen=True, kw_only=True)
    class Config(study.Config):
        n: int = 210

    def texts(config) -> Texts: ...
    def circle(subject, texts) -> study.Part: ...

    if __name__ == "__main__":
        study.main(Config, texts, [circle])

Config           options of every study over models; a study adds its own
run(...)         ask every question of every model, from Python or a notebook
main(...)        the same with the options of the command line
asks(...)        decorator: the positions that a question reads
Study            texts and questions under one name, for more than one module
Subject          the model that is asked, with its texts and depths
Part             the answer to a question: claims, figures, tables
Outcome          what a run found

In place of a run, by an option of the same name or a method of `Study`:

plan             `Needs`: what a run would read, hold and store, and what would not fit
power            `Power`: how often planted effects of given sizes are found
register         `Registration`: the claims to be made, before anything is read
replicate        `Combined`: several seeds; `combined(paths)` does the same for runs that are there

Rehearsal        noise in a model's place, for power and registration; `of_texts` plants labels
NeedsModel       raised by a question that asks noise for its model
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.run._config import StudyConfig as Config
    from interp.study._asked import Material, Part, Subject
    from interp.study._needs import GIGA, Needs, free_disk, free_memory
    from interp.study._power import Power
    from interp.study._questions import asks
    from interp.study._registration import Registration
    from interp.study._rehearsal import NeedsModel, Rehearsal, of_texts
    from interp.study._replicates import Combined, combined
    from interp.study._runner import Outcome, Study, main, run
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "GIGA",
    "Combined",
    "Config",
    "Material",
    "Needs",
    "NeedsModel",
    "Outcome",
    "Part",
    "Power",
    "Registration",
    "Rehearsal",
    "Study",
    "Subject",
    "asks",
    "combined",
    "free_disk",
    "free_memory",
    "main",
    "of_texts",
    "run",
]
