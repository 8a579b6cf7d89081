"""A run's directory: complete or not, never overwritten, and checked when read back."""

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch

import studies
import studies.__main__ as command
from interp.files import Unfinished, jsonable, write_atomically
from interp.run import Run, StudyConfig, is_complete, parse, run_command
from interp.run import _origin as origin

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Config:
    model: tuple[str, ...] = ("gpt2",)
    """Models to read, one report for each."""
    blocks: tuple[int, ...] | None = None
    """Blocks to read; all of them by default."""
    pooling: Literal["last", "mean"] = "last"
    """Rule for spans of several tokens."""
    seed: int = 0
    """Seed of every permutation."""


def read(*args: str) -> Config:
    return parse(Config, args, prog="python -m studies.example", description="Asks something.")


def table() -> pd.DataFrame:
    return pd.DataFrame({"block": [0, 1], "score": [0.25, np.nan]})


@pytest.mark.parametrize(
    "args",
    [
        ["--model", "a", "b", "--seed", "3"],
        ["--model", "a", "--seed", "3", "--model", "b"],
        ["--model=a", "--seed=3", "--model=b"],
    ],
)
def test_a_field_of_several_values_takes_them_together_or_repeated(args):
    assert read(*args) == Config(model=("a", "b"), seed=3)


def test_repeats_are_gathered_for_an_optional_tuple_as_well():
    assert read("--blocks", "1", "--blocks", "-2").blocks == (1, -2)


def test_numbers_may_stand_between_commas_and_names_may_hold_them():
    assert (
        read("--blocks", "1,-2").blocks == read("--blocks=1,", "--blocks", "-2").blocks == (1, -2)
    )
    assert read("--model", "a,b").model == ("a,b",)


def test_defaults_live_in_the_config():
    assert read() == Config()


def test_help_shows_each_field_with_its_docstring(capsys):
    with pytest.raises(SystemExit) as exit_:
        read("--help")
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert exit_.value.code == 0
    assert "Asks something." in shown
    for text in ("Models to read, one report for each.", "Seed of every permutation.", "--pooling"):
        assert text in shown


@pytest.mark.parametrize("args", [["--modle", "a"], ["--pooling", "first"], ["--seed", "x"]])
def test_an_unknown_flag_or_value_is_refused(args, capsys):
    with pytest.raises(SystemExit) as exit_:
        read(*args)
    assert exit_.value.code == 2
    assert args[0] in capsys.readouterr().err


def test_a_clean_run_reads_back_with_every_file_hashed(tmp_path):
    with Run(
        "example", Config(), root=tmp_path, command=["python -m studies.example", "--seed", "0"]
    ) as run:
        assert not is_complete(run.path)
        run.save_table("scores", table())
        run.keep_result("names", ("a", "b"))
        with pytest.raises(ValueError, match=r"'names' is kept already; kept: \['names'\]"):
            run.keep_result("names", ())
        run.save_results({"z": np.float64("nan"), "grid": np.eye(2), Path("x"): torch.tensor(1)})
        run.save_report("<p>é</p>")
        run.record("seeds", {"permutations": np.int64(7)})
    done = Run.open(run.path)
    pd.testing.assert_frame_equal(done.table("scores"), table())
    grid = [[1.0, 0.0], [0.0, 1.0]]
    assert done.results() == {"names": ["a", "b"], "z": None, "grid": grid, "x": 1}
    manifest = done.manifest
    assert {"scores.parquet", "results.json", "report.html"} <= set(manifest["files"])
    assert manifest["config"]["model"] == ["gpt2"]
    assert manifest["arguments"] == ["--seed", "0"]
    assert manifest["recorded"] == {"seeds": {"permutations": 7}}
    assert manifest["packages"]["torch"] == metadata.version("torch")
    assert manifest["started"] <= manifest["ended"]
    assert not list(run.path.glob(".*")), "a temporary file is left"


@pytest.mark.parametrize("kernel", [["-f", "kernel.json"], []])
def test_a_run_from_python_records_its_call_and_no_command_that_was_never_given(
    tmp_path, monkeypatch, kernel
):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", *kernel])
    with Run("example", Config(seed=7), root=tmp_path) as run:
        said = run.summary()["command"]
    manifest = Run.open(run.path).manifest
    assert manifest["arguments"] is None and manifest["call"] == said
    assert said == "called from Python: main(Config(seed=7))"
    with Run("example", {"n": 2}, root=tmp_path) as run:
        assert run.summary()["command"] == "called from Python with {'n': 2}"


def test_a_call_names_its_own_configuration_and_what_differs_from_defaults(tmp_path):
    @dataclass(frozen=True)
    class Mine:
        n: int = 1
        depths: list[int] = field(default_factory=lambda: [1, 2])

    for config, said in ((Mine(), "Mine()"), (Mine(depths=[3]), "Mine(depths=[3])")):
        with Run("example", config, root=tmp_path) as run:
            assert run.summary()["command"] == f"called from Python: main({said})"


def test_a_run_from_a_command_records_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["example", "--seed", "3"])

    def main(config):
        with Run("example", config, root=tmp_path) as run:
            assert run.summary()["command"] == run.command() == "python mine.py --seed 3"
        return run.path

    run_command(main, Config, prog="python mine.py", description="")
    path = capsys.readouterr().out.strip()
    assert Run.open(path).manifest["arguments"] == ["--seed", "3"]
    with Run("example", Config(), root=tmp_path) as after:
        assert after.command() is None


def test_a_changed_file_is_found_when_the_run_is_opened(tmp_path):
    with Run("example", {}, root=tmp_path) as run:
        run.save_table("scores", table())
        run.save_results({"score": 1})
    run.path.joinpath("results.json").write_text('{"score": 2}')
    with pytest.raises(ValueError, match=r"results\.json"):
        Run.open(run.path)


def test_a_failed_run_keeps_its_files_and_its_traceback_and_is_not_complete(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        Run("example", {}, root=tmp_path, run_id="mine") as run,
    ):
        run.save_table("scores", table())
        _ = 1 / 0
    assert "ZeroDivisionError" in (run.path / "error.txt").read_text()
    assert (run.path / "scores.parquet").is_file()
    assert not is_complete(run.path)
    with pytest.raises(ValueError, match="no complete run"):
        Run.open(run.path)

    with Run("example", {}, root=tmp_path, run_id="mine") as again:
        again.save_table("scores", table())
    assert again.path == run.path
    assert set(Run.open(again.path).manifest["files"]) - {"git.diff"} == {"scores.parquet"}


def test_a_run_that_waits_for_other_processes_says_for_what_and_has_not_failed(tmp_path):
    with pytest.raises(Unfinished), Run("example", Config(), root=tmp_path) as run:
        raise Unfinished("2 of 3 shards wait for other ranks")
    assert (run.path / "waiting.txt").read_text() == "2 of 3 shards wait for other ranks\n"
    assert not (run.path / "error.txt").exists() and not is_complete(run.path)


def test_a_complete_run_is_never_overwritten(tmp_path):
    with Run("example", {}, root=tmp_path, run_id="mine") as run:
        run.save_results({})
    before = (run.path / "manifest.json").read_bytes()
    with (
        pytest.raises(ValueError, match="complete run"),
        Run("example", {}, root=tmp_path, run_id="mine"),
    ):
        pass
    assert (run.path / "manifest.json").read_bytes() == before


def test_runs_of_the_same_second_and_config_get_directories_of_their_own(tmp_path):
    paths = []
    for _ in range(3):
        with Run("example", Config(), root=tmp_path) as run:
            paths.append(run.path)
    assert len(set(paths)) == 3
    assert all(is_complete(path) for path in paths)


def test_the_run_id_tells_configs_apart(tmp_path):
    def digest(config: Config) -> str:
        with Run("example", config, root=tmp_path) as run:
            return run.path.name.split("-")[1]

    assert digest(Config()) == digest(Config())
    assert digest(Config()) != digest(Config(seed=1))


def test_nothing_is_written_or_recorded_twice_or_outside_the_directory(tmp_path):
    with Run("example", {}, root=tmp_path) as run:
        run.save_table("scores", table())
        run.record("seed", 1)
        with pytest.raises(ValueError, match="scores"):
            run.save_table("scores", table())
        with pytest.raises(ValueError, match="seed"):
            run.record("seed", 2)
        with pytest.raises(ValueError, match="plain file name"):
            run.save_table("../scores", table())


def test_a_value_without_a_json_form_is_refused_and_not_stored_as_its_repr():
    with pytest.raises(ValueError, match="object"):
        jsonable({"model": object()})


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_atomically(path, "old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A git checkout whose `interp` package this process runs from, as far as it can tell."""
    package = tmp_path / "checkout" / "interp"
    (package / "run").mkdir(parents=True)
    (package / "run" / "origin.py").write_text("a = 1\n")

    def git(*command: str) -> None:
        subprocess.run(["git", "-C", package.parent, *command], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "first")
    monkeypatch.setattr(origin, "__file__", str(package / "run" / "origin.py"))
    return package.parent


def test_git_state_is_clean_until_a_file_changes_and_then_the_diff_is_kept(checkout, tmp_path):
    with Run("example", {}, root=tmp_path) as clean:
        pass
    (checkout / "interp" / "run" / "origin.py").write_text("a = 2\n")
    (checkout / "new.py").write_text("")
    with Run("example", {}, root=tmp_path) as dirty:
        pass
    states = [Run.open(run.path).manifest["git"] for run in (clean, dirty)]
    assert [state["dirty"] for state in states] == [False, True]
    assert states[1]["untracked"] == ["new.py"]
    assert len(states[0]["commit"]) == 40
    assert not (clean.path / "git.diff").exists()
    assert "+a = 2" in (dirty.path / "git.diff").read_text()
    assert "uncommitted" in dirty.summary()["git commit"]


def test_a_package_installed_inside_another_checkout_has_no_git_state(
    checkout, tmp_path, monkeypatch
):
    installed = checkout / ".venv" / "interp"
    installed.mkdir(parents=True)
    monkeypatch.setattr(origin, "__file__", str(installed / "run" / "origin.py"))
    with Run("example", {}, root=tmp_path) as run:
        pass
    assert json.loads((run.path / "manifest.json").read_text())["git"] is None
    assert run.summary()["git commit"] == "none"


def test_the_list_of_studies_shows_those_that_run_with_their_first_line(
    tmp_path, monkeypatch, capsys
):
    for name, init, main in (
        ("asks", '"""What it asks.\n\nMore."""', '"""Steps."""'),
        ("bare", "", '"""Told by its steps."""'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(init)
        (tmp_path / name / "__main__.py").write_text(f"{main}\nraise SystemExit('was run')\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text('"""No study."""')
    monkeypatch.setattr(studies, "__path__", [str(tmp_path)])
    assert command.main([]) == 0
    shown = capsys.readouterr().out
    assert [line.strip() for line in shown.splitlines() if line] == [
        "asks",
        "What it asks.",
        "python -m studies.asks --help",
        "bare",
        "Told by its steps.",
        "python -m studies.bare --help",
        "A study of your own to begin with: python -m studies new NAME",
        "Runs of one study side by side: python -m studies combine RUN RUN ...",
    ]


def test_a_study_runs_by_its_name_with_the_options_behind_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "asks").mkdir()
    (tmp_path / "asks" / "__init__.py").write_text('"""What it asks."""')
    (tmp_path / "asks" / "__main__.py").write_text("import sys; print(__name__, *sys.argv[1:])")
    monkeypatch.setattr(studies, "__path__", [str(tmp_path)])
    monkeypatch.setattr(sys, "argv", ["interp-studies", "asks", "--n", "100"])
    assert command.main() == 0
    assert capsys.readouterr().out == "__main__ --n 100\n"
    assert command.main([]) == 0
    assert "interp-studies asks --help" in capsys.readouterr().out
    assert command.main(["ask"]) == 2
    assert "no study 'ask'; choose from asks" in capsys.readouterr().err


def test_the_installed_command_finds_our_studies_beside_a_folder_of_the_same_name(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["interp-studies"].partition(":")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "interp-studies"  # what pip writes for an entry point
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "__init__.py").write_text("raise SystemExit('the folder of a user')")
    shown = subprocess.run(
        [sys.executable, script, "date_manifold", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Where does a language model hold a date" in shown.stdout
    assert "--permutations" in shown.stdout


def test_every_file_that_is_not_python_is_in_the_wheel():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package, globs in patterns["package-data"].items():
        shipped = {path for pattern in globs for path in (ROOT / package).glob(pattern)}
        every = {path for path in (ROOT / package).rglob("*") if path.is_file()}
        left = {p for p in every - shipped if p.suffix != ".py" and "__pycache__" not in p.parts}
        assert not left, package
    assert (ROOT / "interp" / "py.typed").exists()


def test_a_study_s_configuration_refuses_what_no_study_can_run_with():
    @dataclass(frozen=True, kw_only=True)
    class Config(StudyConfig):
        """A study with one option more."""

        folds: int = 3
        """Folds."""

        def __post_init__(self):
            super().__post_init__()
            self.require_at_least(folds=2)

    assert Config().model == ("smollm2-135m-instruct-q4",)
    for change, message in (
        ({"model": ()}, r"model = \(\); name one or more models, each once"),
        ({"model": ("a", "a")}, "each once"),
        ({"batch_size": 0}, "batch_size = 0; it must be at least 1"),
        ({"folds": 1}, "folds = 1; it must be at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            Config(**change)
