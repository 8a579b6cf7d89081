"""Texts with spans in a file of their own, for more of them than memory should hold.

One JSON object a line, `{"text": ..., "spans": {"<name>": [start, stop]}}`, or a list of such pairs
for a span of several stretches; `"add_special_tokens": false` for a text that brings its own. Only
where each line begins is kept in memory, 8 bytes a text.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np

from interp.files import whole
from interp.positions import Sample

SPECIAL = "add_special_tokens"
"""Entry of a line whose text brings its own special tokens."""


class SampleFile(Sequence[Sample]):
    """A sequence of samples that are read when they are asked for.

    The file must stay as it is, and be where it is for every process that reads it.
    """

    def __init__(self, path: Path | str):
        """Raises ValueError for a file without lines, FileNotFoundError for none."""
        self.path = Path(path).resolve()
        starts, lines, begin = [], [], 0
        with self.path.open("rb") as file:
            for number, line in enumerate(iter(file.readline, b""), start=1):
                if line.strip():  # an editor may leave blank lines
                    starts.append(begin)
                    lines.append(number)
                begin = file.tell()
        if not starts:
            raise ValueError(f"{self.path} has no lines; each is a text with spans")
        self._starts, self._lines = np.array(starts), np.array(lines)

    @classmethod
    def write(cls, path: Path | str, samples: Iterable[Sample]) -> "SampleFile":
        """Puts samples into a file, one at a time, so that a generator may make them."""
        with whole(Path(path)) as partial, partial.open("w", encoding="utf-8") as file:
            for sample in samples:
                line = {"text": sample.text, "spans": dict(sample.spans)}
                if not sample.add_special_tokens:
                    line[SPECIAL] = False
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return cls(path)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Sample]:
        with self.path.open("rb") as file:
            lines = (line for line in file if line.strip())
            for number, line in enumerate(lines):
                yield self._sample(number, line)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]  # negative ones counted from the end
        with self.path.open("rb") as file:
            file.seek(int(self._starts[number]))
            return self._sample(number, file.readline())

    def _sample(self, number: int, line: bytes) -> Sample:
        try:
            row = json.loads(line)
            if unknown := set(row) - {"text", "spans", SPECIAL}:
                raise ValueError(
                    f"unknown entries {sorted(unknown)}; valid: text, spans, {SPECIAL}"
                )
            return Sample(row["text"], row["spans"], row.get(SPECIAL, True))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            where = f"{self.path}, line {self._lines[number]}"
            raise ValueError(f"{where}: no sample: {error!r} in {line[:60]!r}") from error
