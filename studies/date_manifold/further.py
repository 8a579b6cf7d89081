"""The experiments that follow detection, one after another, for one model."""

from collections.abc import Iterator
from functools import partial

from transformer_lens.model_bridge import TransformerBridge

from interp.claims import Claim, description
from interp.store import Store, by_position
from studies.date_manifold import (
    binding,
    cycle,
    hypotheses,
    patching,
    planes,
    reuse,
    rigidity,
    turning,
)
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.figures import article
from studies.date_manifold.intervention import (
    FEWEST_PAIRS,
    Pairs,
    Reader,
    draw_pairs,
    question,
    readable,
)
from studies.date_manifold.scoring import Part, Settings


def investigate(
    found: Detection, store: Store, data: Dataset, settings: Settings
) -> Iterator[Part]:
    """The cycle, planes, reuse, rigidity, shapes and, where a text names two people, binding."""
    layout, blocks = found.layout, partial(by_position, store)
    at_depth = store.read(store.hooks[layout.at(settings.depth)]).swapaxes(0, 1)
    yield cycle.investigate(found, blocks, data, settings)
    yield planes.investigate(layout, at_depth, data, settings)
    yield reuse.investigate(found, blocks, data, settings)
    yield rigidity.investigate(found, blocks, data, settings)
    yield hypotheses.investigate(found, at_depth, data, settings)
    if data.other is not None:
        yield binding.investigate(found, blocks, at_depth, data, settings)


def intervene(
    model: TransformerBridge,
    found: Detection,
    store: Store,
    data: Dataset,
    settings: Settings,
    *,
    pairs: int,
    batch_size: int,
) -> tuple[list[Part], str | None]:
    """Patching and turning with this many pairs of texts, and their outcome in words; nothing for
    0 pairs, claims that say what is missing for texts that do not allow them."""
    if not pairs:
        return [], None
    drawn = draw_pairs(data, pairs, seed=settings.seed)
    missing = _missing(data, drawn)
    if not all(missing.values()):
        return [Part(_untested(found, data, missing), [])], None
    assert data.distractor is not None
    layout, row = found.layout, found.best(data.destination)
    reader = Reader(
        model, store, data, row, drawn.training, alpha=settings.alpha, batch_size=batch_size
    )
    r2, words = readable(reader, data, drawn), (data.source, data.distractor)
    patched = patching.patch_words(reader, data, drawn, words, patching.depths(row))
    turned = turning.turn_words(
        reader, data, drawn, patched.deepest_half(), planes=turning.PLANES, seed=settings.seed
    )
    first, moved = patching.investigate(patched, r2, layout, row, data, settings)
    second, revolved = turning.investigate(turned, r2, layout, row, data)
    return [first, second], f"{moved}; {revolved}"


def _missing(data: Dataset, drawn: Pairs) -> dict[str, bool]:
    """What interventions need, and whether it is there."""
    return {
        f"{article(data)} that is a cycle": data.period is not None,
        "a word that is known to have nothing to do with it": data.distractor is not None,
        f"{FEWEST_PAIRS} pairs or more": len(drawn.donors) >= FEWEST_PAIRS,
    }


def _untested(found: Detection, data: Dataset, missing: dict[str, bool]) -> list[Claim]:
    return [
        description(
            question(data),
            statement,
            subject=found.layout.model,
            needs=" and ".join(name for name, there in missing.items() if not there),
        )
        for statement in (patching.statement(data), turning.statement(data))
    ]
