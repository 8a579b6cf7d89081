"""The null of a vector's cosine with what is written when it is attended to.

For head h and x^ on the sphere of radius sqrt(d), v = C x^ + c is written as W^T v, with W the
output map times the post-norm's gain, so

    cosine = (W x^) . v / sqrt(d v^T W W^T v),

which depends on x^ through [C; W] x^ only: 2 d_head numbers, drawn as `inputs` says. The whole
output joins all heads, and its vectors are drawn in full. The linearised ratio (delta method) would
cost less. Its sd is off by .3 % in the median head of SmolLM2-135M-Instruct, but by 4.7 % where one
or two dimensions carry a head's output (17 % in the extreme), and it has no tail.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.affinity._forms import Forms
from interp.affinity._inputs import Inputs, values_on
from interp.affinity._logit_null import DRAWS, running, sampled_moments, stacked
from interp.affinity._null import Null

CHUNK = 500
"""Vectors of full length at a time."""


def self_null(models: Sequence[Forms], *, seed: int) -> Null:
    """Null of that cosine for each head and, last, for the whole output, [heads + 1]; for two
    models, of the second's minus the first's on the same vectors."""
    _, head_width, width = models[0].A.shape
    law = Inputs(float(width), 1.0, None, None)
    stack = min(width, 2 * len(models) * head_width)
    drawn = law.coordinates(stack, draws=DRAWS, seed=seed)
    found = [
        sampled_moments(_change(_head_cosines(models, head, drawn)))
        for head in range(len(models[0].A))
    ]
    found.append(sampled_moments(_change(_whole_cosines(models, seed))))
    mean, sd, tail = map(torch.stack, zip(*found, strict=True))
    return Null(mean, sd, tail, "sampled", (2 * DRAWS) ** -0.5, seed)


def _change(cosines: list[Tensor]) -> Tensor:
    return cosines[1] - cosines[0] if len(cosines) == 2 else cosines[0]


def _head_cosines(models: Sequence[Forms], head: int, drawn: Tensor) -> list[Tensor]:
    kv = head // models[0].group
    outputs = [_gained(forms, forms.W_O[head]) for forms in models]
    value = stacked([(_restored(forms) * forms.C[kv], forms.c[kv]) for forms in models])
    output = stacked([(W, W.new_zeros(len(W))) for W in outputs])
    parts = values_on(drawn, value + output)
    v, w = running(parts[: len(models)]), running(parts[len(models) :])
    cosines = []
    for W, v_one, w_one in zip(outputs, v, w, strict=True):
        square = ((v_one @ (W @ W.T)) * v_one).sum(dim=1)
        cosines.append((w_one * v_one).sum(dim=1) / (W.shape[1] * square).sqrt())
    return cosines


def _whole_cosines(models: Sequence[Forms], seed: int) -> list[Tensor]:
    generator = np.random.default_rng(seed)
    shape = CHUNK, models[0].A.shape[-1]
    parts = []
    for _ in range(DRAWS // CHUNK):
        x = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
        parts.append([torch.cosine_similarity(x, _whole(forms, x)) for forms in models])
    return [torch.cat(one) for one in zip(*parts, strict=True)]


def _whole(forms: Forms, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The direction of the whole output for x, in single precision, which draws can afford."""
    kept = x - x.mean(dim=1, keepdim=True) if forms.centred else x
    x = kept * (x.shape[1] ** 0.5 / kept.norm(dim=1, keepdim=True))
    total = forms.b_O.float().expand_as(x)
    for kv, (C, c) in enumerate(zip(forms.C, forms.c, strict=True)):
        # heads of a group share their value, so their output maps add up
        W = forms.W_O[kv * forms.group : (kv + 1) * forms.group].float().sum(dim=0)
        total = torch.addmm(total, x @ C.float().T + c.float(), W)
    return _gained(forms, total)


def _gained(forms: Forms, written: Tensor) -> Tensor:
    return written if forms.post_gain is None else written * forms.post_gain.to(written)


def _restored(forms: Forms) -> float:
    """Factor on the centred vector: the norm makes up for the dimension that centring loses."""
    width = forms.A.shape[-1]
    return (width / (width - forms.centred)) ** 0.5
