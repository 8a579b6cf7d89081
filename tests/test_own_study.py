"""Studies of one file: the page that teaches them, what `studies new` writes, and the examples."""

import ast
import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import tiny_hf, tiny_tokenizer

from interp import study
from interp.run import Run
from studies import __main__ as studies_main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your_own_study.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:```text\n(.*?)```)?", PAGE, flags=re.DOTALL)
EXAMPLES = [studies_main.TEMPLATE, *sorted((ROOT / "docs" / "examples").glob("*.py"))]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-llama")
    tiny_hf("llama", num_hidden_layers=4).save_pretrained(path)
    tiny_tokenizer("llama").save_pretrained(path)
    return str(path)


def _imported(path: Path, name: str):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_runs_and_prints_what_it_says(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "page", type(sys)("page"))
    vars(sys.modules["page"]).update({"__file__": str(tmp_path / "page.py"), "__name__": "page"})
    names = vars(sys.modules["page"])
    here = f"Config(model=({model!r},), device='cpu', runs='{tmp_path}', store='{tmp_path}/s', "
    assert len(BLOCKS) == 4
    for code, expected in BLOCKS:
        code = code.replace("study.run(Config(", f"study.run({here}")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == expected
    assert names["outcome"].report.exists()


def test_the_page_shows_the_study_that_is_written():
    written = ast.unparse(ast.parse(studies_main.TEMPLATE.read_text()))
    shown = ast.parse("\n".join(code for code, _ in BLOCKS[:1] + BLOCKS[2:3]))
    for node in shown.body:
        if isinstance(node, ast.FunctionDef) and node.name == "texts":
            continue  # the written one has a docstring, which the page says in words
        assert ast.unparse(node) in written


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_one_short_file_that_imports_the_library_alone(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    roots = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            roots.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
    assert roots - set(sys.stdlib_module_names) <= {"interp", "numpy"}


QUESTIONS = {"template": ["kept"], "sentiment": ["praise"], "weekday": ["circle", "recall"]}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, model, tmp_path):
    module = _imported(path, path.stem)
    options = {"model": (model,), "device": "cpu", "runs": tmp_path, "store": tmp_path / "s"}
    if hasattr(module.Config, "permutations"):
        options["permutations"] = 40
    questions = [getattr(module, name) for name in QUESTIONS[path.stem]]
    outcome = study.run(module.Config(**options), module.texts, questions)
    assert outcome.claims and all(c.subject == model for c in outcome.claims)
    assert sum(c.primary for c in outcome.claims) == 1
    assert all(c.verdict != "described" for c in outcome.claims if c.primary)
    assert Run.open(outcome.path).manifest["study"] == path.stem


def test_a_new_study_runs_as_a_script_with_its_test(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert studies_main.main(["new", "mills"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mills.py", "test_mills.py"}
    assert "python mills.py" in capsys.readouterr().out
    command = [sys.executable, "mills.py", "--model", model, "--device", "cpu"]
    done = subprocess.run(
        [*command, "--permutations", "40"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    report = Path(done.stdout.strip())
    assert report.exists() and report.parts[:2] == ("runs", "mills")
    ast.parse((tmp_path / "test_mills.py").read_text())
    assert Run.open(report.parent).manifest["command"].startswith("python mills.py --model")


def test_a_new_study_never_overwrites_and_needs_a_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mills.py").write_text("mine")
    assert (
        studies_main.main(["new", "mills"]) == 2 and (tmp_path / "mills.py").read_text() == "mine"
    )
    assert "is there already" in capsys.readouterr().err
    assert studies_main.main(["new", "my-mills"]) == 2
    assert "cannot be a module's name" in capsys.readouterr().err
    assert studies_main.main(["old"]) == 2
