"""What is attached to a model besides its own code, or in force around it.

Hooks, replaced methods and running contexts have no content to know a result by, so what is kept on
disk must be computed without them. What the bridge, transformers and accelerate attach for their
own working is told by the package in which its code was written: `functools.wraps` gives a function
another's name, and leaves its globals.
"""

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils.parametrize import is_parametrized
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from interp.model._settings import modules_of, package

WORKING = ("transformer_lens", "transformers", "accelerate")
"""Packages whose hooks and methods only carry, place and record what a model computes."""

PLACING = ("AlignDevicesHook", "CpuOffload", "SequentialHook")
"""accelerate's hooks that move tensors between devices."""


def foreign(model: TransformerBridge) -> tuple[str, ...]:
    """What stands on a model or is in force around it, a clause each with the module's name: hooks
    of anybody's, methods replaced on an instance or a class, parametrizations, adapters, autocast.
    Empty for a model that computes what its weights say."""
    found = [
        f"{what} on {name or 'the model'}"
        for name, module in modules_of(model)
        for what in _of_module(module)
    ]
    found += [
        f"a hook on {point.name}"
        for point in _hook_points(model)
        if point._forward_hooks or point._forward_pre_hooks
    ]
    return (*dict.fromkeys(found), *_around())


def _hook_points(model: TransformerBridge) -> list[HookPoint]:
    roots = (model, model.original_model)
    every = {id(m): m for root in roots for m in root.modules() if isinstance(m, HookPoint)}
    return list(every.values())


def _of_module(module: nn.Module) -> Iterator[str]:
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    for hook in hooks:
        if _home(hook) not in WORKING:
            yield f"a forward hook ({_called(hook)})"
    for method in _replaced(module):
        yield f"a replaced {method}()"
    placing = getattr(module, "_hf_hook", None)
    if placing is not None and not _only_places(placing):
        yield f"a hook of accelerate ({type(placing).__name__})"
    if is_parametrized(module):
        yield "a parametrization"
    if package(type(module)) == "peft":
        yield f"an adapter of peft ({type(module).__name__}; merge it first)"


def _replaced(module: nn.Module) -> Iterator[str]:
    """Names of methods that are not those of the module's class as it was written."""
    for name, value in vars(module).items():
        shadows = inspect.isroutine(getattr(type(module), name, None))
        if isinstance(module, TransformerBridge) and name != "forward":
            continue  # ways to call the model, which change nothing in it
        if shadows and callable(value) and _home(value) not in WORKING:
            yield name
    for kind in type(module).__mro__:
        forward = vars(kind).get("forward")
        if forward is not None:
            own = ("torch", *WORKING)
            if package(kind) in own and _home(forward) not in own:
                yield f"{kind.__name__}.forward"
            return


def _only_places(hook: Any) -> bool:
    if type(hook).__name__ == "SequentialHook":
        return all(map(_only_places, hook.hooks))
    return package(type(hook)) == "accelerate" and type(hook).__name__ in PLACING


def _around() -> Iterator[str]:
    """What is in force for every module at once."""
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        yield "a global forward hook of torch on every module"
    for device in ("cpu", "cuda", "mps"):
        if torch.is_autocast_enabled(device):
            yield f"torch.autocast({device!r}) around the call"


def _home(function: Any) -> str:
    """The top-level package of a function's code, through methods, partials and decorators."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    globals_ = getattr(function, "__globals__", None)
    if globals_ is None:  # an object with __call__
        return package(type(function))
    return str(globals_.get("__name__", "")).partition(".")[0]


def _called(function: Any) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', type(function).__module__)}.{name}"


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
