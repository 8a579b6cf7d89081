"""What every study's configuration has: which models, on what, and where results go."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Base of a study's configuration; a study adds its own options and may change defaults."""

    model: tuple[str, ...] = ("smollm2-135m",)
    """One or more models: a local name (python -m interp.model list), directory, GGUF or hub id."""
    seed: int = 42
    """Of everything that is drawn."""
    batch_size: int = 16
    """Texts per forward pass."""
    device: str | None = None
    """Where the model runs; the first GPU if there is one, else the CPU."""
    runs: Path = Path("runs")
    """Directory of run directories."""
    store: Path = Path("runs/stores")
    """Directory of activation stores, which later runs on the same texts read again."""

    def __post_init__(self):
        if not self.model or len(set(self.model)) < len(self.model):
            raise ValueError(f"model = {self.model}; name one or more models, each once")
        self.require_at_least(batch_size=1)

    def require_at_least(self, **least: int) -> None:
        """Refuse fields below a bound: ValueError with the field, its value and the bound."""
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} = {getattr(self, name)}; it must be at least {bound}")
