"""What every study's configuration has: on what it computes, where results go, and which models."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a study is run, whatever it is about."""

    seed: int = 42
    """Of everything that is drawn."""
    batch_size: int = 16
    """Texts per forward pass."""
    device: str | None = None
    """Where the model runs; the first GPU if there is one, else the CPU."""
    runs: Path = Path("runs")
    """Directory of run directories."""
    store: str | Path = "runs/stores"
    """Directory or address (s3://...) of activation stores, which later runs read again."""
    executor: Literal["local", "rank", "ray"] = "local"
    """Who computes: this process; for activations this rank of torchrun or SLURM; for activations
    and grids a Ray cluster."""
    workers: int | None = None
    """Workers of the Ray cluster; by default one for each GPU, or as many as the CPUs allow."""
    plan: bool = False
    """Print what would be read, held and stored, and what would not fit, and stop before any weight
    is read."""
    power: tuple[float, ...] = ()
    """Ask no model: plant effects of these sizes, in standard deviations of noise, into the study's
    own design, and print how often they are found."""
    register: Path | None = None
    """Write options, questions and claims to this file, and stop before anything is read."""
    registered: Path | None = None
    """A file of --register: other options are refused, and claims that it lacks are exploratory."""
    replicates: int = 1
    """Seeds to run one after another, with texts, folds and permutations of their own, and to
    combine by random effects."""

    def __post_init__(self):
        object.__setattr__(self, "runs", Path(self.runs))  # from Python often a string
        self.require_at_least(batch_size=1, replicates=1)
        for size in self.power:
            if not 0 <= size < float("inf"):
                raise ValueError(f"power = {self.power}; an effect's size is a number from 0 up")
        self._refuse_two_actions()
        if self.workers is not None and (self.workers < 1 or self.executor != "ray"):
            raise ValueError(
                f"workers = {self.workers}; give 1 or more, and executor 'ray', "
                f"not {self.executor!r}"
            )

    @property
    def action(self) -> str:
        """What is asked for in place of a single run: `plan`, `power`, `register` or `replicates`;
        "" for a run."""
        chosen = [name for name in ("plan", "power", "register") if getattr(self, name)]
        chosen += ["replicates"] if self.replicates > 1 else []
        return ", ".join(chosen)

    def _refuse_two_actions(self) -> None:
        if "," in self.action:
            raise ValueError(f"give one of {self.action}: each takes the place of a run")
        if self.action in ("plan", "power", "register") and self.registered:
            raise ValueError(f"registered has no part beside {self.action}; leave one of them out")

    @property
    def backend(self) -> Literal["loky", "ray"]:
        """Who scores the cells of a grid: processes of this machine, or of the Ray cluster."""
        return "ray" if self.executor == "ray" else "loky"

    @property
    def subjects(self) -> tuple[str, ...]:
        """What is asked, one after another: models by name."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it asks")

    def refuse_beside(self, given: str, *others: str) -> None:
        """Refuse options that say nothing once another is given: ValueError with both names.

        An option counts as given where it differs from its default.
        """
        if getattr(self, given) in (None, ()):
            return
        defaults = {entry.name: entry.default for entry in fields(self)}
        for name in others:
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"{name} = {getattr(self, name)} has no part where {given} = "
                    f"{getattr(self, given)} is given; leave one of them out"
                )

    def require_at_least(self, **least: int) -> None:
        """Refuse fields below a bound: ValueError with the field, its value and the bound."""
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} = {getattr(self, name)}; it must be at least {bound}")


@dataclass(frozen=True, kw_only=True)
class StudyConfig(RunConfig):
    """Base of the configuration of a study over models; a study adds its own options and may change
    defaults."""

    model: tuple[str, ...] = ("smollm2-135m-instruct-q4",)
    """One or more models: a local name (python -m interp.model list), directory, GGUF or hub id;
    random:NAME is the same with random weights, for comparison."""
    revision: tuple[str, ...] = ()
    """Branch, tag or commit on the hub, one for each model; the main branch by default."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights; auto: bfloat16 on a GPU that has it, else float16 there, float32 on a CPU."""
    device_map: str | None = None
    """How to spread a model over several devices, such as auto; in place of a device."""
    quantise: Literal["4bit", "8bit"] | None = None
    """Quantise weights as they are read, for a model that would not fit; needs bitsandbytes."""
    group_near_copies: bool = False
    """Keep near copies among your own texts in one fold; without it the report tells of them."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """The models."""
        return self.model

    def __post_init__(self):
        super().__post_init__()
        if not self.model or len(set(self.model)) < len(self.model):
            raise ValueError(f"model = {self.model}; name one or more models, each once")
        if self.revision and len(self.revision) != len(self.model):
            raise ValueError(
                f"revision = {self.revision}; give one for each of the {len(self.model)} models, "
                "or none"
            )
        if self.device is not None and self.device_map is not None:
            raise ValueError(
                f"give device = {self.device!r} or device_map = {self.device_map!r}, not both"
            )

    def loading(self, name: str) -> dict[str, Any]:
        """Arguments of `interp.model.load` for one of the models."""
        revisions = dict(zip(self.model, self.revision, strict=False))
        return {
            "device": self.device,
            "revision": revisions.get(name),
            "dtype": None if self.dtype == "auto" else self.dtype,
            "device_map": self.device_map,
            "quantise": self.quantise,
        }
