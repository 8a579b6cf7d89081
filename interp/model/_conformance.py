"""Does every hook name mean what it says? Identities checked once, when a model is loaded.

On a short prompt, and for every block:

1. all hook points are finite (first: a NaN passes any comparison by `max`),
2. resid_pre + attn_out = resid_mid, resid_mid + mlp_out = resid_post, and resid_post of one block
   is resid_pre of the next,
3. z W_O (+ b_O) = attention's own output, and softmax(scores) = pattern,
4. resid_post of block l = hidden_states[l + 1] but for the last block, and the output of the final
   norm = hidden_states[-1],
5. padding on either side, and company in the batch, leave a text's residual stream alone; company
   longer than every length at which the model switches (`interp.model.company`) does so too,
6. in generation with a cache every token passes once and at its place, its residual stream is that
   of one pass over the whole, and what is generated is what that pass finds likeliest,
7. a string handed to the model begins with the tokens that its tokenizer gives, BOS included.

Point 4 compares with the module that the bridge wraps, so it shows self-consistency: that the
bridge equals HuggingFace is shown by tests against an untouched copy.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float, Int
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from interp.model._company import padding_id, switches
from interp.model._points import (
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
from interp.model._releases import advice

PROMPT = "Ada was born on the 27th of June, and every June she counts 3 of her friends."
COMPANION = "A longer text about nothing in particular keeps the first one company, 24 hours a day."

PADDING = 3
"""Columns of padding beside the longest text, and tokens generated."""

SHORT = 8
"""Tokens of the prompt, from its beginning, that stand in batches and are gone on with: what does
not look ahead treats them alike, and a check costs a third."""

LONGEST = 1100
"""Tokens of the longest company that is tried: two rows of them cost a 270M model about as much as
building it."""

TOLERANCE = {torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 1e-1}
"""Largest error relative to the largest value, by dtype. float32: measured 0 to 2e-6 on real and
tiny models. bfloat16: identities reach 3.9e-3 (GPT-2's z W_O + b_O), padding 1.6e-2 on a real
30-block model, and 6e-2 on another CPU, whose products are summed in another order. float16: steps
of cached generation reach 2.4e-2 there."""

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
            f"this model breaks what its hook names promise:\n{broken}\n{advice()}\n"
            "Pass check=False to go on at your own risk."
        )
        self.report = report

    def __reduce__(self) -> tuple[type["ConformanceError"], tuple[Conformance]]:
        # an exception is otherwise made anew from its message, and would not come back from workers
        return type(self), (self.report,)


def conformance(model: TransformerBridge) -> Conformance:
    """Check a model's hook points on a short prompt. See the module's docstring for the list.

    Cost: four forward passes over some 20 tokens, two over one; and one over two rows of the length
    of each window or chunk up to `LONGEST` tokens. A warning names longer ones.
    """
    tolerance = TOLERANCE.get(model.cfg.dtype, TOLERANCE[torch.bfloat16])
    ids = _ids(model, PROMPT)
    short = ids[:, :SHORT]
    blocks = range(model.cfg.n_layers)
    with torch.no_grad():
        cache, states = _cache(model, ids)
        finite = _finite(cache)
        if not finite.passed:
            return Conformance((finite,))
        checks = [_worst(name, tolerance, test, model, cache, blocks) for name, test in _IDENTITIES]
        if not model.compatibility_mode:  # folding rewrites the weights that HuggingFace reads
            checks.append(_hidden_states(model, states, cache, tolerance))
        checks += [
            *_padding(model, short, cache, tolerance),
            *_long_company(model, short, cache, tolerance),
            *_generation(model, short, cache, tolerance),
            _strings(model),
        ]
    return Conformance((finite, *checks))


def _ids(model: TransformerBridge, text: str) -> Int[torch.Tensor, "1 position"]:
    """The text's tokens, cut to leave a short context room for the padding checks."""
    ids = model.tokenizer(text, return_tensors="pt").input_ids
    rows = model.original_model.get_input_embeddings().weight.shape[0]  # pyright: ignore[reportCallIssue]
    if beyond := [token for token in ids[0].tolist() if token >= rows]:
        raise ValueError(
            f"the tokenizer gives token {_tokens(model, beyond[:1])}, and the model has embeddings "
            f"for {rows}: it is another model's tokenizer, or one with tokens added"
        )
    return ids[:, : model.cfg.n_ctx - PADDING].to(model.cfg.device)


def _names(model: TransformerBridge) -> list[str]:
    residuals = (resid_pre, attn_out, resid_mid, mlp_out, resid_post)
    per_block = (*residuals, z, attn_module_out, attn_scores, pattern)
    return [p(b) for b in range(model.cfg.n_layers) for p in per_block] + [final_norm()]


def _cache(
    model: TransformerBridge, ids: Int[torch.Tensor, "1 position"]
) -> tuple[Cache, Sequence[Float[torch.Tensor, "1 position d_model"]]]:
    """What every hook sees of one pass, and the hidden states that HuggingFace gives of it."""
    names = _names(model)
    check_hooks(model, names)
    cache: dict[str, torch.Tensor] = {}
    with model.hooks(fwd_hooks=[(name, _keep(cache, name)) for name in names]):
        states = model.original_model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
    missing = [name for name in names if name not in cache]
    if missing:
        raise ValueError(f"hook points that never fire in this model: {', '.join(missing)}")
    return cache, states


def _keep(cache: dict[str, torch.Tensor], name: str) -> Callable:
    """A hook that keeps what it sees under a name, as it is at that moment."""

    def hook_fn(tensor: torch.Tensor, hook: object) -> None:  # noqa: ARG001 (TransformerLens's signature)
        cache[name] = tensor.clone()

    return hook_fn


def _relative(found: Float[torch.Tensor, "..."], expected: Float[torch.Tensor, "..."]) -> float:
    """Largest error over the largest value; 0 where both are 0, infinity where one is no number."""
    found, expected = found.float(), expected.float().to(found.device)
    error, scale = (found - expected).abs().max().item(), expected.abs().max().item()
    if math.isnan(error) or math.isnan(scale):
        return math.inf
    if scale == 0:
        return 0.0 if error == 0 else math.inf
    return error / scale


def _largest(name: str, tolerance: float, errors: Mapping[str, float]) -> Check:
    """The check that the largest of the errors decides, one that is no number before all others."""
    numbers = {place: math.inf if math.isnan(e) else e for place, e in errors.items()}
    where = max(numbers, key=numbers.__getitem__)
    return Check(name, numbers[where], tolerance, where)


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
    blocks: Sequence[int],
) -> Check:
    errors = {f"block {block}": test(model, cache, block) for block in blocks}
    return _largest(name, tolerance, errors)


def _hidden_states(
    model: TransformerBridge,
    states: Sequence[Float[torch.Tensor, "1 position d_model"]],
    cache: Cache,
    tolerance: float,
) -> Check:
    last = model.cfg.n_layers - 1
    errors = {resid_post(b): _relative(cache[resid_post(b)], states[b + 1]) for b in range(last)}
    errors[final_norm()] = _relative(cache[final_norm()], states[-1])
    return _largest("resid_post(l) = hidden_states[l + 1]", tolerance, errors)


def _padding(
    model: TransformerBridge, ids: Int[torch.Tensor, "1 position"], alone: Cache, tolerance: float
) -> list[Check]:
    """A text padded on the right and on the left, in a batch with a longer one, against alone."""
    n = ids.shape[1]
    other = _ids(model, COMPANION)[:, : n + PADDING]
    width = other.shape[1] + PADDING
    rows = [
        _padded(model, row, width, side)
        for row, side in ((ids, "right"), (ids, "left"), (other, "left"))
    ]
    got, _ = _pass(model, *(torch.cat(column) for column in zip(*rows, strict=True)))
    return [
        _against(
            f"{side} padding changes nothing", got, alone, row, slice(start, start + n), tolerance
        )
        for side, row, start in (("right", 0, 0), ("left", 1, width - n))
    ]


def _against(
    name: str,
    got: Mapping[str, torch.Tensor],
    alone: Cache,
    row: int,
    place: slice,
    tolerance: float,
) -> Check:
    """Compare one row's residual stream with the beginning of that of the text alone."""
    errors = {}
    for point, tensor in got.items():
        found = tensor[row : row + 1, place]
        errors[point] = _relative(found, alone[point][:, : found.shape[1]])
    return _largest(name, tolerance, errors)


def _pass(
    model: TransformerBridge,
    ids: Int[torch.Tensor, "batch position"],
    mask: Int[torch.Tensor, "batch position"],
) -> tuple[dict[str, torch.Tensor], Float[torch.Tensor, "batch position vocabulary"]]:
    """The residual stream after every block and the logits, of one pass without a cache."""
    got: dict[str, torch.Tensor] = {}
    points = [resid_post(block) for block in range(model.cfg.n_layers)]
    logits = model.run_with_hooks(
        ids,
        fwd_hooks=[(point, _keep(got, point)) for point in points],
        attention_mask=mask,
        output_attentions=False,
        use_cache=False,
    )
    return got, logits


def _padded(
    model: TransformerBridge, ids: Int[torch.Tensor, "1 _"], width: int, side: str
) -> tuple[Int[torch.Tensor, "1 _"], Int[torch.Tensor, "1 _"]]:
    """A row and its mask, filled up to a width."""
    gap = width - ids.shape[1]
    where = (gap, 0) if side == "left" else (0, gap)
    pad = torch.nn.functional.pad
    # the mask hides whatever stands there, so a tokenizer without a pad token does as well
    return pad(ids, where, value=padding_id(model)), pad(torch.ones_like(ids), where)


def _long_company(
    model: TransformerBridge, ids: Int[torch.Tensor, "1 position"], alone: Cache, tolerance: float
) -> list[Check]:
    """A text beside one that is longer than a switch, for every switch that is short enough."""
    checks = []
    for switch in switches(model.original_model.config):
        length = switch.length + PADDING
        if switch.by_longest_row:
            warnings.warn(
                f"{switch.name}: beyond {switch.length} tokens in the longest row a whole batch is "
                "computed otherwise. extract keeps rows on both sides apart; do so in your own",
                stacklevel=4,
            )
        elif length > min(LONGEST, model.cfg.n_ctx):
            if switch.length < model.cfg.n_ctx:
                warnings.warn(
                    f"{switch.name} = {switch.length}: company longer than that was not tried",
                    stacklevel=4,
                )
        else:
            long = ids.repeat(1, -(-length // ids.shape[1]))[:, :length]
            rows = [_padded(model, row, length, "right") for row in (ids, long)]
            got, _ = _pass(model, *(torch.cat(column) for column in zip(*rows, strict=True)))
            name = f"company longer than {switch.name} = {switch.length} changes nothing"
            checks.append(_against(name, got, alone, 0, slice(ids.shape[1]), tolerance))
    return checks


def _generation(
    model: TransformerBridge, ids: Int[torch.Tensor, "1 position"], alone: Cache, tolerance: float
) -> list[Check]:
    """Passes of cached generation against one pass over what was generated, which also stands in a
    batch of two."""
    point, n = resid_post(model.cfg.n_layers - 1), ids.shape[1]
    passes: list[torch.Tensor] = []
    options = {"do_sample": False, "verbose": False, "stop_at_eos": False, "return_type": "tokens"}
    with model.hooks(fwd_hooks=[(point, lambda t, hook: passes.append(t.clone()))]):  # noqa: ARG005
        whole = model.generate(ids, max_new_tokens=PADDING, use_past_kv_cache=True, **options)
    assert isinstance(whole, torch.Tensor)
    before = whole[:, :-1]  # the last token is generated and never read
    rows = torch.cat([before, before.flip(1)])
    got, logits = _pass(model, rows, torch.ones_like(rows))
    seen, due = [t.shape[1] for t in passes], [n, *[1] * (PADDING - 1)]
    stepwise = torch.cat(passes, 1)
    steps = _relative(stepwise, got[point][:1]) if seen == due else math.inf
    likeliest = logits[0, n - 1 :].float()
    chosen = likeliest.gather(1, whole[0, n:, None])[:, 0]
    # of two equally likely tokens either may be taken
    behind = _relative(chosen, likeliest.max(1).values)
    return [
        _against("batch equals single", got, alone, 0, slice(n), tolerance),
        Check(
            "in cached generation every token passes once",
            float(seen != due),
            0.0,
            f"passes of {seen} tokens, where {due} are due",
        ),
        _largest("cached steps equal one pass", tolerance, {point: steps}),
        _largest("generation takes the likeliest token", tolerance, {"a generated token": behind}),
    ]


def _strings(model: TransformerBridge) -> Check:
    """A string's tokens through the model against the tokenizer's own; the error counts the first
    ones that differ. A tail that differs (an EOS that the tokenizer adds) is told in a warning."""
    own = model.tokenizer(PROMPT).input_ids[: model.cfg.n_ctx]  # as to_tokens cuts it
    through = model.to_tokens(PROMPT)[0].tolist()
    shared = min(len(own), len(through))
    first = next((i for i in range(shared) if own[i] != through[i]), shared)
    where = (
        f"token {first}: {_tokens(model, through[first : first + 3])} where the tokenizer gives "
        f"{_tokens(model, own[first : first + 3])}"
    )
    same_tail = len(own) == len(through) and first == shared
    if first == shared and not same_tail:
        warnings.warn(f"strings handed to the model differ at {where}", stacklevel=4)
    return Check("strings become the tokenizer's own tokens", float(first < shared), 0.0, where)


def _tokens(model: TransformerBridge, ids: list[int]) -> str:
    names = model.tokenizer.convert_ids_to_tokens(ids)
    return ", ".join(f"{name!r} ({i})" for name, i in zip(names, ids, strict=True)) or "nothing"
