"""One pass at a time: threads take turns at a model.

Hooks hang on the model and not on a thread, so a pass of one thread would run under another's. What
runs passes here holds the model's lock while it does, and the hooks of an open context, or of an
extraction, act in the thread that made them alone.
"""

import threading
from weakref import WeakKeyDictionary

from transformer_lens.model_bridge import TransformerBridge

_LOCKS: WeakKeyDictionary[TransformerBridge, threading.RLock] = WeakKeyDictionary()
_MAKING = threading.Lock()


def turn(model: TransformerBridge) -> threading.RLock:
    """The model's lock, to be held around a forward pass with hooks; one thread may nest it."""
    with _MAKING:
        return _LOCKS.setdefault(model, threading.RLock())
