"""Edit activations while a model runs: steer, ablate, patch, or an edit of your own.

    with steer(model, {resid_post(12): vector}, strength=4):
        model.generate("I think that", max_new_tokens=20, do_sample=False)

1. Every name is resolved to its hook point; unknown and switched-off names are refused.
2. A forward pass tells how many tokens its key-value cache already holds, so that a position
   counts from the start of the sequence in a prompt and in generation alike, with or without cache.
3. Each hook takes the activations at the positions, hands a copy to the edit, and puts what comes
   back in their place.
4. On the way out the hooks go, whatever ended the block. After a clean end, a hook that never fired
   or a position that no pass reached is an error: TransformerLens accepts both without a word.

An edit at `resid_mid` is written into the tensor itself. TransformerLens fires that hook at the
entry of the MLP's norm, and a tensor returned there reaches the MLP but not the skip connection,
so that `resid_mid + mlp_out = resid_post` would break. No other point of the vocabulary does this.

Contexts nest: edits of one hook apply in the order in which the contexts were entered. They hold
for plain calls, `run_with_hooks`, `generate`, `hf_generate` and `interp.extract.extract` alike.
`run_with_cache` inside a context shows the activation after the edit at the edited hook itself.
Gradients flow through every edit, to the vectors too. Only the gradient that
`run_with_cache(incl_bwd=True)` caches at a `resid_mid` cannot be had while that same `resid_mid` is
edited, because torch forbids changing a tensor in place under a backward hook: it raises.
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp.intervene._contexts import ablate, active, intervening, patch, steer
    from interp.intervene._edits import Edit
    from interp.intervene._hooks import paused
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = ["Edit", "ablate", "active", "intervening", "patch", "paused", "steer"]
