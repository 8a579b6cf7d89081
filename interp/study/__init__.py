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
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.run.config import StudyConfig as Config
    from interp.study._asked import Material, Part, Subject
    from interp.study._questions import asks
    from interp.study._runner import Outcome, Study, main, run
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = ["Config", "Material", "Outcome", "Part", "Study", "Subject", "asks", "main", "run"]
