"""The house: four layers whose imports point down, and rules that a reader may rely on."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GET = {
    "model", "positions", "labelled", "batch", "extract", "plan", "store", "weights", "intervene",
    "samplefile", "texts", "pairs", "pooling", "transcripts", "rendering",
}  # fmt: skip
COMPUTE = {
    "probes", "smds", "alignment", "readout", "affinity", "directions", "stats", "claims",
    "selection",
}  # fmt: skip
BELOW = {"files", "checkpoints", "arrays", "duplicates", "numerals", "_lazy", "_version"}
"""What stands below all layers and imports nothing of ours."""
MAY_IMPORT = (
    {module: GET | BELOW for module in GET}
    | {module: {"stats", "claims", "tasks"} | BELOW for module in COMPUTE}
    | {
        # the record of one block's attention: plain tensors, read without a model
        "affinity": {"stats", "claims", "tasks", "weights"} | BELOW,
        # loads what readouts export
        "directions": {"readout"} | BELOW,
        "tasks": BELOW,
        "weights": BELOW,
        "plots": COMPUTE | {"_lazy"},
        "report": BELOW,
        "run": BELOW,
        "stats": BELOW,
        "study": GET | COMPUTE | BELOW | {"plots", "report", "run", "tasks"},
    }
    | {module: set() for module in BELOW}
)
"""What of ours each module of `interp` may import beside itself."""

LAZY = sorted(
    path.parent.name
    for path in (ROOT / "interp").glob("*/__init__.py")
    if path.parent.name not in ("affinity", "weights")
)
LIBRARY = sorted((ROOT / "interp").rglob("*.py"))
STUDIES = sorted((ROOT / "studies").rglob("*.py"))


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def _ours(path: Path, package: str) -> set[str]:
    """Modules of one of our packages that a file imports."""
    return {n.split(".")[1] for n in _imports(path) if n.startswith(f"{package}.")}


def _drawn(path: Path) -> set[str]:
    """Modules that a file imports inside of a method `plot`: the one arrow that points up."""
    plots = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "plot"
    ]
    nodes = [inner for plot in plots for inner in ast.walk(plot)]
    return {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}


def _at_once(path: Path) -> set[str]:
    """Modules that a file imports when it is imported itself, by its top level."""
    body = ast.parse(path.read_text()).body
    return {node.module or "" for node in body if isinstance(node, ast.ImportFrom)} | {
        alias.name for node in body if isinstance(node, ast.Import) for alias in node.names
    }


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    module = path.relative_to(ROOT / "interp").parts[0].removesuffix(".py")
    if module == "__init__":
        assert _at_once(path) == {"typing", "interp._lazy"}
        return
    assert module in MAY_IMPORT, f"interp/{module} is in none of the four layers"
    upward = {"plots"} if module in COMPUTE and _drawn(path) == {"interp.plots"} else set()
    assert _ours(path, "interp") <= MAY_IMPORT[module] | {module} | upward
    assert not _ours(path, "studies")


@pytest.mark.parametrize("name", LAZY)
def test_a_package_imports_its_names_when_they_are_used(name):
    assert _at_once(ROOT / "interp" / name / "__init__.py") <= {"typing", "interp._lazy"}


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: str(p.relative_to(ROOT)))
def test_studies_import_what_packages_offer_and_no_inner_module(path):
    inner = [n for n in _imports(path) if re.match(r"interp\.\w+\._", n)]
    assert inner == [], "what a study needs is offered by the package"


def test_inner_modules_are_private():
    """A reader finds a package's names in its `__init__`, and nowhere else."""
    inner = [p for p in (ROOT / "interp").glob("*/*.py") if not p.name.startswith("_")]
    assert [str(p.relative_to(ROOT)) for p in inner] == ["interp/affinity/notebook.py"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: str(p.relative_to(ROOT)))
def test_studies_do_not_import_one_another(path):
    study = path.relative_to(ROOT / "studies").parts[0]
    assert _ours(path, "studies") <= {study}


@pytest.mark.parametrize("path", LIBRARY + STUDIES, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_are_short_and_annotations_are_values(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is longer than 60 lines"
    # postponed annotations are strings, which jaxtyping cannot check
    assert "__future__.annotations" not in _imports(path)
    assert not any(n.split(".")[0] in ("pickle", "dill", "cloudpickle") for n in _imports(path))


def test_affinity_comes_without_transformers():
    """Its import takes the record of weights, and nothing that reads or runs a model."""
    code = "import sys, interp.affinity; print('transformers' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert shown.stdout.decode().strip() == "False"


def test_every_path_and_command_of_the_readme_exists():
    text = (ROOT / "README.md").read_text()
    paths = set(re.findall(r"`((?:interp|studies|tests|benchmarks|docs)/[\w./]*)`", text))
    modules = set(re.findall(r"python -m ((?:interp|studies)[\w.]*)", text))
    targets = set(re.findall(r"(?:^|`)make (\w+)", text, flags=re.MULTILINE))
    assert paths and modules and targets
    for path in paths:
        assert (ROOT / path).exists(), path
    for module in modules:
        place = ROOT.joinpath(*module.split("."))
        assert (place / "__main__.py").exists() or place.with_suffix(".py").exists(), module
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
