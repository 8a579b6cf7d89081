"""Options of grids, one by one."""

from dataclasses import fields
from typing import Any


def gathered(options: dict[str, Any], **records: type) -> dict[str, Any]:
    """Options whose names are fields of a record are put into one, under the name of the record's
    option; the others stay as they are."""
    rest, chosen = dict(options), {}
    for name, record in records.items():
        known = {entry.name for entry in fields(record)} & rest.keys()
        chosen[name] = record(**{key: rest.pop(key) for key in known})
    return rest | chosen
