"""Readout vectors as files that other programs read.

readout.safetensors  `layer_{l}.vectors`, float16 [concepts, d], for each block l
readout.json         {"concepts", "layers", "hidden_size", "dtype"}, nothing else
quality.json         the convention of block numbers, and what is known of each vector
<concept>.safetensors  `vectors`, float32 [blocks, d], one file a concept
<concept>.gguf       llama.cpp control vector, one file a concept

llama.cpp adds `direction.N` to the output of its layer N, counted from 0, before the next layer
reads it, so N is our block number. It keeps no direction for layer 0: block 0 is left out of such a
file, which says so. (Its own generator stores the output of layer i as `direction.{i + 1}`; files
from here are not shifted.) Files are written whole or not at all.
"""

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from gguf import GGUFReader, GGUFWriter
from jaxtyping import Float
from safetensors import safe_open
from safetensors.numpy import load, save

from interp.arrays import folder as as_folder
from interp.files import as_json, whole, write_atomically
from interp.readout._contrast import OK
from interp.readout._vectors import Readouts

CONVENTION = (
    "block l, counted from 0, means the residual stream after block l, before any final norm: "
    "blocks.{l}.hook_resid_post; Hugging Face hidden_states[l + 1], except for the last block, "
    "whose hidden_states[-1] is taken after the final norm"
)
GGUF_CONVENTION = f"direction.N is added to the output of block N; {CONVENTION}"

EXPORTED = ("readout.safetensors", "readout.json", "quality.json")
"""Files that an export leaves under names of their own; concepts' files stand beside them."""


@dataclass(frozen=True)
class StoredReadouts:
    """What readout.safetensors and readout.json hold."""

    concepts: tuple[str, ...]
    """Names."""
    blocks: tuple[int, ...]
    """Blocks."""
    vectors: Float[np.ndarray, "blocks concepts d"]
    """Unit vectors in float16."""


@dataclass(frozen=True)
class StoredConcept:
    """What one concept's file holds."""

    concept: str
    """Name."""
    blocks: tuple[int, ...]
    """Blocks."""
    vectors: Float[np.ndarray, "blocks d"]
    """Unit vectors in float32."""


def check_export(folder: Path | str, *, overwrite: bool = False) -> None:
    """Check before hours are spent that vectors can be exported to a folder; nothing is written.

    Raises:
        ValueError: it is no directory, cannot be written to, or holds an export that is not to be
            overwritten.
    """
    folder = Path(folder)
    present = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not present.is_dir():
        raise ValueError(f"output {folder}: {present} is no directory")
    if not os.access(present, os.W_OK | os.X_OK):
        raise ValueError(f"output {folder}: no permission to write in {present}")
    present_files = [name for name in EXPORTED if (folder / name).exists()]
    if present_files and not overwrite:
        raise ValueError(
            f"output {folder} already holds an export ({', '.join(present_files)}); choose another "
            "directory, or allow overwriting"
        )


def save_readouts(folder: Path | str, readouts: Readouts) -> None:
    """Write readout.safetensors and readout.json. Raises ValueError for undefined vectors."""
    folder = as_folder(folder)
    _check_defined(readouts)
    tensors = {
        f"layer_{block}.vectors": vectors.astype(np.float16)
        for block, vectors in zip(readouts.blocks, readouts.vectors, strict=True)
    }
    manifest = {
        "concepts": list(readouts.concepts),
        "layers": list(readouts.blocks),
        "hidden_size": readouts.vectors.shape[2],
        "dtype": "float16",
    }
    write_atomically(folder / "readout.safetensors", save(tensors))
    write_atomically(folder / "readout.json", as_json(manifest))


def load_readouts(folder: Path | str) -> StoredReadouts:
    """Read what `save_readouts` wrote."""
    folder = as_folder(folder)
    manifest = json.loads((folder / "readout.json").read_text(encoding="utf-8"))
    tensors = load((folder / "readout.safetensors").read_bytes())
    blocks = tuple(manifest["layers"])
    vectors = np.stack([tensors[f"layer_{block}.vectors"] for block in blocks])
    return StoredReadouts(tuple(manifest["concepts"]), blocks, vectors)


def save_quality(folder: Path | str, content: Mapping[str, Any]) -> None:
    """Write quality.json: `content`, such as qualities, head rankings and triage as dictionaries,
    below the convention of block numbers. Numbers that are not finite become null."""
    write_atomically(
        as_folder(folder) / "quality.json", as_json({"convention": CONVENTION} | dict(content))
    )


def load_quality(folder: Path | str) -> dict[str, Any]:
    """Read what `save_quality` wrote."""
    return json.loads((as_folder(folder) / "quality.json").read_text(encoding="utf-8"))


def save_concepts(folder: Path | str, readouts: Readouts) -> dict[str, Path]:
    """Write `<concept>.safetensors` for each concept, and return the paths by concept.

    Raises ValueError for undefined vectors and names too long for a file.
    """
    folder = as_folder(folder)
    _check_defined(readouts)
    paths = {name: folder / f"{file_stem(name)}.safetensors" for name in readouts.concepts}
    for k, (concept, path) in enumerate(paths.items()):
        header = {"concept": concept, "blocks": list(readouts.blocks), "convention": CONVENTION}
        # One entry: the format stores several in an order that changes from write to write.
        metadata = {"readout": json.dumps(header, ensure_ascii=False)}
        write_atomically(
            path, save({"vectors": np.ascontiguousarray(readouts.vectors[:, k])}, metadata)
        )
    return paths


def load_concept(path: Path | str) -> StoredConcept:
    """Read one file that `save_concepts` wrote."""
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["readout"])
        vectors = file.get_tensor("vectors")
    return StoredConcept(header["concept"], tuple(header["blocks"]), vectors)


def save_control_vectors(
    folder: Path | str, readouts: Readouts, *, model_hint: str
) -> dict[str, Path]:
    """Write `<concept>.gguf` for each concept, and return the paths by concept.

    `model_hint` is llama.cpp's name of the architecture, such as "llama" or "qwen2". Block 0, which
    the format cannot hold, is left out with a warning. Raises ValueError for undefined vectors,
    names too long for a file, and where no other block is left.
    """
    folder = as_folder(folder)
    _check_defined(readouts)
    if min(readouts.blocks) < 0:
        raise ValueError(
            f"block {min(readouts.blocks)}: llama.cpp numbers layers from 0, and would read it as "
            "none; give the block's own number"
        )
    kept = [block for block in readouts.blocks if block > 0]
    if not kept:
        raise ValueError("a control vector cannot hold block 0, and no other block is given")
    left_out = len(kept) < len(readouts.blocks)
    if left_out:
        warnings.warn("llama.cpp has no direction.0: block 0 is left out", stacklevel=2)
    paths = {name: folder / f"{file_stem(name)}.gguf" for name in readouts.concepts}
    for k, (concept, path) in enumerate(paths.items()):
        with whole(path) as partial:
            writer = GGUFWriter(partial, "controlvector")
            writer.add_string("controlvector.model_hint", model_hint)
            writer.add_uint32("controlvector.layer_count", len(kept))
            writer.add_string("controlvector.concept", concept)
            writer.add_string("controlvector.convention", GGUF_CONVENTION)
            if left_out:
                writer.add_string("controlvector.warning", "block 0 left out: no direction.0")
            for block in kept:
                vector = np.ascontiguousarray(readouts.at(block)[k], dtype=np.float32)
                writer.add_tensor(f"direction.{block}", vector)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
    return paths


def load_control_vector(path: Path | str) -> StoredConcept:
    """Read one file that `save_control_vectors` wrote."""
    reader = GGUFReader(path)
    concept = reader.fields["controlvector.concept"].contents()
    blocks = tuple(int(tensor.name.removeprefix("direction.")) for tensor in reader.tensors)
    vectors = np.stack([np.array(tensor.data) for tensor in reader.tensors])
    return StoredConcept(concept, blocks, vectors)


def file_stem(concept: str) -> str:
    """A concept's name with all but ASCII letters, digits and `_.-~` percent-encoded as UTF-8, so
    that it is one safe file name; `concept_of` undoes it. Raises ValueError past 200 characters."""
    stem = quote(concept, safe="")
    if len(stem) > 200:  # file systems end at 255, of which suffix and partial name need some
        raise ValueError(
            f"concept {concept!r} makes a file name of {len(stem)} characters, past 200"
        )
    return stem


def concept_of(stem: str) -> str:
    """The concept whose file has this stem."""
    return unquote(stem)


def _check_defined(readouts: Readouts) -> None:
    bad = np.argwhere(readouts.status != OK)
    if bad.size:
        block, concept = bad[0]
        raise ValueError(
            f"concept {readouts.concepts[concept]!r} has no vector at block "
            f"{readouts.blocks[block]} ({readouts.status[block, concept]}); export the others"
        )
