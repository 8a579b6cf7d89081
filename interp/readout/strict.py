"""Results in the types of strict JSON."""

import math
from typing import Any

import numpy as np


def strict(value: Any) -> Any:
    """Mappings, sequences, arrays and numbers with what is not finite as None."""
    if isinstance(value, dict):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return strict(value.tolist())
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
