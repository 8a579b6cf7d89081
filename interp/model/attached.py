"""What is attached to a model besides its own code: hooks, replaced forwards, parametrizations.

An edit that `interp.intervene` makes is known by its own mark. Anybody else's is known by where its
code comes from: TransformerLens, transformers and accelerate attach what a model needs to run, and
whatever else hangs on a module is somebody's edit, or may be one. A store that is written under it
would pass for the model's own.
"""

from collections.abc import Callable, Iterator

import torch
from torch.nn.modules import module as torch_module
from torch.nn.utils.parametrize import is_parametrized
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

OWN = ("transformer_lens", "transformers", "accelerate")
"""Packages whose hooks and forwards are part of how a model runs."""


def foreign(model: TransformerBridge) -> tuple[str, ...]:
    """Names of modules that bear a hook, a forward or a parametrization of somebody else's, and
    torch's hooks over all modules if there are any."""
    named = [name for name, module in model.named_modules() if any(_foreign_to(module))]
    everywhere = (torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks)
    return (*named, *(["all modules (a global hook of torch)"] if any(everywhere) else []))


def _foreign_to(module: torch.nn.Module) -> Iterator[bool]:
    if isinstance(module, HookPoint):
        # TransformerLens wraps what a user gives it in functions of its own
        for handle in module.fwd_hooks:
            yield not _is_own(handle.user_hook)  # pyright: ignore[reportArgumentType]
        return
    for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
        yield not _is_own(hook)
    forward = module.__dict__.get("forward")
    yield forward is not None and not _is_own(forward)
    yield is_parametrized(module)


def _is_own(function: Callable) -> bool:
    origin = getattr(function, "__module__", None) or type(function).__module__
    wrapped = getattr(function, "func", None)  # of a partial
    if wrapped is not None:
        return _is_own(wrapped)
    return origin.split(".")[0] in OWN


def dropout(model: TransformerBridge) -> str:
    """What drops activations out at random in training mode, in a few words; "" where nothing does
    or the model is in evaluation mode."""
    layers = [m for m in model.original_model.modules() if isinstance(m, torch.nn.Dropout)]
    if any(layer.training and layer.p > 0 for layer in layers):
        return f"{sum(layer.p > 0 for layer in layers)} dropout layers"
    of_transformers = (
        module
        for module in model.original_model.modules()
        if type(module).__module__.startswith("transformers.")
    )
    if not any(module.training for module in of_transformers):
        return ""
    config = model.original_model.config.to_dict()  # attention drops out by a function  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    rates = {k: v for k, v in config.items() if k.endswith(("dropout", "_pdrop")) and v}
    return ", ".join(f"{key} = {rate}" for key, rate in rates.items())
