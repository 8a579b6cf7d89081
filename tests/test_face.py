"""What `import interp` offers: names that come when they are used, and a table of contents."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import interp
from interp._lazy import attach, origins

ROOT = Path(__file__).parent.parent
PACKAGES = ["interp", *(f"interp.{path.parent.name}" for path in ROOT.glob("interp/*/__init__.py"))]
LAZY = [name for name in PACKAGES if "__getattr__" in vars(import_module(name))]
CONTENTS = re.findall(r"^  (\w+) +(interp\.\w+)  +\S", interp.__doc__ or "", flags=re.MULTILINE)
MODULES = re.findall(r"^  (\w+)  +[a-z]", (interp.__doc__ or "").partition("\nModules\n")[2], re.M)
HEAVY = ("torch", "transformers", "transformer_lens", "sklearn", "scipy.stats", "pandas", "numpy")


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_a_package_imports_no_library():
    code = f"import sys, {', '.join(LAZY)}; print([m for m in {HEAVY} if m in sys.modules])"
    assert _python(code) == "[]"


def test_a_name_brings_what_it_needs_and_no_more():
    unneeded = ("torch", "transformers", "transformer_lens", "sklearn", "scipy.stats")
    code = f"import sys, interp; interp.finding; print([m for m in {unneeded} if m in sys.modules])"
    assert _python(code) == "[]"


@pytest.mark.parametrize("package", LAZY)
def test_every_name_is_the_object_of_the_module_that_defines_it(package):
    lazy = import_module(package)
    assert set(origins(package)) == set(lazy.__all__)
    for name, (module, attribute) in origins(package).items():
        if module == package:
            assert getattr(lazy, name) is import_module(f"{package}.{attribute}")
        else:
            assert getattr(lazy, name) is getattr(import_module(module), attribute)


@pytest.mark.parametrize("package", LAZY)
def test_dir_lists_the_names_and_nothing_else(package):
    shown = [name for name in dir(import_module(package)) if not name.startswith("__")]
    assert shown == sorted(set(import_module(package).__all__) - {"__version__"})


@pytest.mark.parametrize(
    "first", ["r.stability", "r.Stability", "import interp.readout._stability"]
)
def test_names_do_not_depend_on_what_was_imported_first(first):
    code = f"import interp.readout as r; {first}; print(r.stability is r._stability.stability)"
    assert _python(code) == "True"


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(AttributeError, match="'interp.model' has no attribute 'nothing'"):
        import_module("interp.model").nothing  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'interp'"):
        exec("from interp import nothing")


def test_a_renamed_import_keeps_its_new_name(tmp_path, monkeypatch):
    package = tmp_path / "renamed_names"
    package.mkdir()
    package.joinpath("__init__.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from interp._lazy import attach\n"
        "if TYPE_CHECKING:\n"
        "    from math import tau as circle\n"
        "else:\n"
        "    __getattr__, __dir__ = attach(__name__)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    renamed = import_module("renamed_names")
    assert renamed.circle == import_module("math").tau
    assert "circle" in dir(renamed) and "tau" not in dir(renamed)
    load, _ = attach("renamed_names")
    assert load("circle") == renamed.circle


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_shadows_a_module(package):
    folder = ROOT.joinpath(*package.split("."))
    modules = {path.stem for path in folder.glob("*.py")}
    modules |= {path.parent.name for path in folder.glob("*/__init__.py")}
    for name in modules & set(import_module(package).__all__):
        assert origins(package)[name] == (package, name), f"{name} is a module and another object"


def test_the_table_of_contents_names_every_name_with_the_module_that_offers_it():
    functions = [name for name, (module, _) in origins("interp").items() if module != "interp"]
    assert len(CONTENTS) > 15
    assert {name for name, _ in CONTENTS} == {*functions} - {"__version__"}
    for name, module in CONTENTS:
        assert getattr(interp, name) is getattr(import_module(module), name), name


def test_the_table_of_contents_names_every_module_of_the_face():
    listed = {name for name, (module, _) in origins("interp").items() if module == "interp"}
    assert {*MODULES} == listed


def test_the_version_is_that_of_the_distribution():
    assert interp.__version__ == version("interp")
