"""Exit status 0 where `load` refuses a plain model because of an installed release, by its name."""

import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tiny_models import tiny_bridge

RELEASES = ("transformers", "transformer-lens", "torch", "tokenizers")

try:
    tiny_bridge("llama")
except ValueError as error:
    print(error)
    named = [name for name in RELEASES if f"{name} {version(name)}" in str(error)]
    print("named:", ", ".join(named) or "none")
    sys.exit(not named)
sys.exit("load accepts a plain model")
