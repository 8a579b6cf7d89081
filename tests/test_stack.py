"""How far a claim is from the command line: files of ours on the stack when it is made."""

import runpy
import sys
from pathlib import Path

import pytest
from tiny_models import tiny_hf, tiny_tokenizer

from interp.claims import Claim

ROOT = Path(__file__).parent.parent
MOST = 6
TALK = "\n".join(f"{'Ann' if turn % 3 else 'Ben'}: I like it, {turn}." for turn in range(24))
RUNS = {
    "attention_affinity": ["--base", "{model}", "--perturb", "0.01", "--components", "3"],
    "embedding_alignment": ["--model", "{model}", "--n", "20", "--resamples", "100"],
    "concept_readout": ["--model", "{model}", "--permutations", "40", "--directions", "0"],
    "date_manifold": [
        "--model", "{model}", "--task", "weekday", "--n", "60", "--folds", "2",
        "--permutations", "40", "--interventions", "0", "--jobs", "1",
    ],
    "speaker_role": [
        "--model", "{model}", "--transcript", "{talk}", "--copies", "1", "--permutations", "40",
        "--ablations", "0", "--jobs", "1", "--folds", "2",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("stack")
    tiny_hf("llama", max_position_embeddings=512).save_pretrained(root / "model")
    tiny_tokenizer("llama").save_pretrained(root / "model")
    (root / "talk.txt").write_text(TALK)
    return {"model": str(root / "model"), "talk": str(root / "talk.txt")}


@pytest.mark.parametrize("study", RUNS)
def test_few_files_stand_between_the_command_and_a_claim(study, places, tmp_path, monkeypatch):
    stacks = set()
    make = Claim.__init__

    def made(self, *args, **kwargs):
        stacks.add(_ours())
        make(self, *args, **kwargs)

    monkeypatch.setattr(Claim, "__init__", made)
    options = [option.format(**places) for option in RUNS[study]]
    options += ["--device", "cpu", "--runs", str(tmp_path), "--store", str(tmp_path / "stores")]
    monkeypatch.setattr(sys, "argv", [study, *options])
    runpy.run_module(f"studies.{study}", run_name="__main__", alter_sys=True)
    made_by_questions = [files for files in stacks if "interp/study/_asked.py" in files]
    assert made_by_questions  # the stack is seen
    assert all(f"studies/{study}/__main__.py" in files for files in made_by_questions)
    assert max(map(len, stacks)) <= MOST, max(stacks, key=len)


def _ours() -> tuple[str, ...]:
    """Files of the library and the studies on the stack, each once."""
    files, frame = [], sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT / "interp") or path.is_relative_to(ROOT / "studies"):
            files.append(str(path.relative_to(ROOT)))
        frame = frame.f_back
    return tuple(dict.fromkeys(files))
