"""Does every hook name mean what it says? Identities checked once, when a model is loaded.

On a short prompt, and for every block:

1. all hook points are finite (first: a NaN passes any comparison by `max`),
2. resid_pre + attn_out = resid_mid, resid_mid + mlp_out = resid_post, and resid_post of one block
   is resid_pre of the next,
3. z W_O (+ b_O) = attention's own output, and softmax(scores) = pattern,
4. resid_post of block l = hidden_states[l + 1] but for the last block, and the output of the final
   norm = hidden_states[-1],
5. padding on either side, and company in the batch, leave a text's residual stream alone,
6. a string handed to the model becomes the tokens that its tokenizer gives, BOS included.

Point 4 compares with the module that the bridge wraps, so it shows self-consistency: that the
bridge equals HuggingFace is shown by tests against an untouched copy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float, Int
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from interp.model.points import (
    attn_module_out,
    attn_out,
    attn_scores,
    check_hooks,
    final_norm,
    mlp_out,
    pattern,
    resid_mid,
    resid_post,
    resid_pre,
    z,
)

PROMPT = "Ada was born on the 27th of June, and every June she counts 3 of her friends."
COMPANION = "A longer text about nothing in particular keeps the first one company, 24 hours a day."

PADDING = 3
"""Columns of padding beside the longest text."""

TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest error relative to the largest value, by dtype. float32: measured 0 to 2e-6 on real and
tiny models. bfloat16: identities reach 3.9e-3 (GPT-2's z W_O + b_O), padding 1.6e-2 on a real
30-block model. float16 has three more bits of mantissa than bfloat16, hence an eighth, rounded
up."""

Cache = Mapping[str, Float[torch.Tensor, "..."]] | ActivationCache


@dataclass(frozen=True)
class Check:
    """One identity, measured."""

    name: str
    """What was checked."""
    error: float
    """Largest error over blocks, relative to the largest value; infinity where the comparison
    could not be made."""
    tolerance: float
    """What the dtype allows."""
    where: str
    """The hook point or text with the largest error."""

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the tolerance."""
        return self.error <= self.tolerance

    def __str__(self) -> str:
        sign = "ok    " if self.passed else "BROKEN"
        place = "" if self.passed else f" at {self.where}"
        return f"{sign} {self.name}: error {self.error:.1e} (allowed {self.tolerance:.0e}){place}"


@dataclass(frozen=True)
class Conformance:
    """The checks of one model."""

    checks: tuple[Check, ...]
    """Every check made, in order."""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(str(check) for check in self.checks)


class ConformanceError(ValueError):
    """A model whose hook names would lie."""

    def __init__(self, report: Conformance):
        broken = "\n".join(str(check) for check in report.checks if not check.passed)
        super().__init__(
            f"this model breaks what its hook names promise:\n{broken}\n"
            "Pass check=False to go on at your own risk."
        )
        self.report = report

    def __reduce__(self) -> tuple[type["ConformanceError"], tuple[Conformance]]:
        # an exception is otherwise made anew from its message, and would not come back from workers
        return type(self), (self.report,)


def conformance(model: TransformerBridge) -> Conformance:
    """Check a model's hook points on a short prompt. See the module's docstring for the list.

    Cost: five forward passes over some 20 tokens.
    """
    tolerance = TOLERANCE.get(model.cfg.dtype, TOLERANCE[torch.bfloat16])
    ids = _ids(model, PROMPT)
    blocks = range(model.cfg.n_layers)
    with torch.no_grad():
        cache = _cache(model, ids)
        finite = _finite(cache)
        if not finite.passed:
            return Conformance((finite,))
        checks = [_worst(name, tolerance, test, model, cache, blocks) for name, test in _IDENTITIES]
        if not model.compatibility_mode:  # folding rewrites the weights that HuggingFace reads
            checks.append(_hidden_states(model, ids, cache, tolerance))
        checks += [
            _invariance("right padding changes nothing", tolerance, model, ids, cache, "right"),
            _invariance("left padding changes nothing", tolerance, model, ids, cache, "left"),
            _invariance("batch equals single", tolerance, model, ids, cache, "batch"),
            _bos(model),
        ]
    return Conformance((finite, *checks))


def _ids(model: TransformerBridge, text: str) -> Int[torch.Tensor, "1 position"]:
    """The text's tokens, cut to leave a short context room for the padding checks."""
    ids = model.tokenizer(text, return_tensors="pt").input_ids
    return ids[:, : model.cfg.n_ctx - PADDING].to(model.cfg.device)


def _names(model: TransformerBridge) -> list[str]:
    residuals = (resid_pre, attn_out, resid_mid, mlp_out, resid_post)
    per_block = (*residuals, z, attn_module_out, attn_scores, pattern)
    return [p(b) for b in range(model.cfg.n_layers) for p in per_block] + [final_norm()]


def _cache(model: TransformerBridge, ids: Int[torch.Tensor, "batch position"]) -> Cache:
    names = _names(model)
    check_hooks(model, names)
    _, cache = model.run_with_cache(
        ids,
        attention_mask=torch.ones_like(ids),
        names_filter=names,
        output_attentions=False,
        use_cache=False,
    )
    missing = [name for name in names if name not in cache]
    if missing:
        raise ValueError(f"hook points that never fire in this model: {', '.join(missing)}")
    return cache


def _relative(found: Float[torch.Tensor, "..."], expected: Float[torch.Tensor, "..."]) -> float:
    found, expected = found.float(), expected.float().to(found.device)
    return ((found - expected).abs().max() / expected.abs().max()).item()


def _finite(cache: Cache) -> Check:
    for name, tensor in cache.items():
        # folded models mark masked pairs by -inf, which is what it means there
        masked = tensor.isneginf() if name.endswith("hook_attn_scores") else False
        if not (torch.isfinite(tensor) | masked).all():
            return Check("all hook points are finite", float("inf"), 0.0, name)
    return Check("all hook points are finite", 0.0, 0.0, "")


def _sum_at_mid(_model: TransformerBridge, cache: Cache, block: int) -> float:
    return _relative(cache[resid_pre(block)] + cache[attn_out(block)], cache[resid_mid(block)])


def _sum_at_post(_model: TransformerBridge, cache: Cache, block: int) -> float:
    return _relative(cache[resid_mid(block)] + cache[mlp_out(block)], cache[resid_post(block)])


def _chain(model: TransformerBridge, cache: Cache, block: int) -> float:
    if block == model.cfg.n_layers - 1:
        return 0.0
    return _relative(cache[resid_post(block)], cache[resid_pre(block + 1)])


def _heads(model: TransformerBridge, cache: Cache, block: int) -> float:
    attention, heads, out = model.blocks[block].attn, cache[z(block)], cache[attn_module_out(block)]
    try:
        weights = attention.W_O
    except NotImplementedError:  # quantised weights cannot be read, but they can be applied
        return _relative(attention.o.original_component(heads.flatten(-2)), out)
    made = einsum(heads, weights, "batch pos head d_head, head d_head d_model -> batch pos d_model")
    bias = getattr(attention, "b_O", None)
    return _relative(made if bias is None else made + bias, out)


def _softmax(_model: TransformerBridge, cache: Cache, block: int) -> float:
    return _relative(cache[attn_scores(block)].float().softmax(-1), cache[pattern(block)])


_IDENTITIES: tuple[tuple[str, Callable[[TransformerBridge, Cache, int], float]], ...] = (
    ("resid_pre + attn_out = resid_mid", _sum_at_mid),
    ("resid_mid + mlp_out = resid_post", _sum_at_post),
    ("resid_post is the next block's resid_pre", _chain),
    ("z W_O + b_O = attn.hook_out", _heads),
    ("softmax(attn_scores) = pattern", _softmax),
)


def _worst(
    name: str,
    tolerance: float,
    test: Callable[[TransformerBridge, Cache, int], float],
    model: TransformerBridge,
    cache: Cache,
    blocks: range,
) -> Check:
    errors = {block: test(model, cache, block) for block in blocks}
    block = max(errors, key=errors.__getitem__)
    return Check(name, errors[block], tolerance, f"block {block}")


def _hidden_states(
    model: TransformerBridge,
    ids: Int[torch.Tensor, "1 position"],
    cache: Cache,
    tolerance: float,
) -> Check:
    states = model.original_model(
        input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
    ).hidden_states
    last = model.cfg.n_layers - 1
    errors = {resid_post(b): _relative(cache[resid_post(b)], states[b + 1]) for b in range(last)}
    errors[final_norm()] = _relative(cache[final_norm()], states[-1])
    where = max(errors, key=errors.__getitem__)
    return Check("resid_post(l) = hidden_states[l + 1]", errors[where], tolerance, where)


def _invariance(
    name: str,
    tolerance: float,
    model: TransformerBridge,
    ids: Int[torch.Tensor, "1 position"],
    alone: Cache,
    how: str,
) -> Check:
    """Compare a text's residual stream with that of the same text in a batch of two."""
    if how == "batch":
        rows, masks = [ids, ids.flip(1)], [torch.ones_like(ids)] * 2
    else:
        rows, masks = _padded(model, [ids, _ids(model, COMPANION)], how)
    got: dict[str, torch.Tensor] = {}
    points = [resid_post(block) for block in range(model.cfg.n_layers)]
    model.run_with_hooks(
        torch.cat(rows),
        fwd_hooks=[(p, lambda t, hook, p=p: got.__setitem__(p, t[:1].clone())) for p in points],  # noqa: ARG005
        attention_mask=torch.cat(masks),
        output_attentions=False,
        use_cache=False,
        return_type=None,
    )
    real = masks[0][0].bool()
    errors = {p: _relative(got[p][:, real], alone[p]) for p in points}
    where = max(errors, key=errors.__getitem__)
    return Check(name, errors[where], tolerance, where)


def _padded(
    model: TransformerBridge, rows: list[Int[torch.Tensor, "1 _"]], side: str
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Rows and masks of one width, wider than the longest so that all are padded."""
    width = max(row.shape[1] for row in rows) + PADDING
    pad = torch.nn.functional.pad
    gaps = [width - row.shape[1] for row in rows]
    sides = [(gap, 0) if side == "left" else (0, gap) for gap in gaps]
    filled = [
        pad(r, s, value=model.tokenizer.pad_token_id) for r, s in zip(rows, sides, strict=True)
    ]
    return filled, [pad(torch.ones_like(r), s) for r, s in zip(rows, sides, strict=True)]


def _bos(model: TransformerBridge) -> Check:
    """A string's tokens through the model against the tokenizer's own; the error counts them."""
    own = model.tokenizer(PROMPT).input_ids[: model.cfg.n_ctx]  # as to_tokens cuts it
    through = model.to_tokens(PROMPT)[0].tolist()
    bos = model.tokenizer.bos_token_id
    error = float(own != through) + abs(own.count(bos) - through.count(bos))
    where = f"{through[:3]}... where the tokenizer gives {own[:3]}..."
    return Check("strings become the tokenizer's own tokens", error, 0.0, where)
