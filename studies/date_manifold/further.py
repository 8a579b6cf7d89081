"""The experiments that follow detection, one after another, for one model."""

from collections.abc import Iterator
from functools import partial

from interp.store import Store, by_position
from studies.date_manifold import binding, hypotheses, planes, reuse, rigidity
from studies.date_manifold.data import Dataset
from studies.date_manifold.detection import Detection
from studies.date_manifold.scoring import Part, Settings


def investigate(
    found: Detection, store: Store, data: Dataset, settings: Settings
) -> Iterator[Part]:
    """Planes, reuse, rigidity, shapes and, where a text names two people, binding."""
    layout, blocks = found.layout, partial(by_position, store)
    at_depth = store.read(store.hooks[layout.at(settings.depth)]).swapaxes(0, 1)
    yield planes.investigate(layout, at_depth, data, settings)
    yield reuse.investigate(found, blocks, data, settings)
    yield rigidity.investigate(found, blocks, data, settings)
    yield hypotheses.investigate(found, at_depth, data, settings)
    if data.other is not None:
        yield binding.investigate(found, blocks, at_depth, data, settings)
