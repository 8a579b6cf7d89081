"""A study's claims and options, written down before anything is read.

1. Questions are asked of noise in a model's place, which gives their claims without a number of the
   model: statements, tests by rival, units of exchange, smallest effects, what is selected and how
   that is paid for. A question that needs the model is registered by its name and its code.
2. Options, texts, questions with the SHA-256 of their module, and claims go into one JSON file,
   under a SHA-256 of their own.
3. A run that names the file is refused where its options or texts are others. A claim that was not
   registered, or whose question's module has changed since, is marked exploratory: it takes no
   part in the correction of the others.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interp.claims import LEVEL, Claim
from interp.files import as_json, jsonable, write_atomically
from interp.run import RunConfig
from interp.study._asked import Subject
from interp.study._power import rehearsed_claims

FORMAT = 1
"""Version of the file."""
WHERE = frozenset(
    "runs store device device_map executor workers batch_size jobs output overwrite "
    "plan power register registered replicates".split()
)
"""Options that say where and how fast, and not what is asked."""
STATED = tuple("kind question statement smallest_effect exchange selection rule primary".split())
"""Fields of a claim that are known before a model is."""


@dataclass(frozen=True)
class Registration:
    """What a study is to claim."""

    content: Mapping[str, Any]
    """As the file holds it."""

    @classmethod
    def of(
        cls,
        study: str,
        config: RunConfig,
        texts: Any,
        questions: Sequence[Callable[..., Any]],
        noise: Subject | None,
    ) -> "Registration":
        """Register a study, asking noise for its claims; without any, questions alone."""
        claims, unrehearsed = {}, tuple(question.__name__ for question in questions)
        if noise is not None:
            claims, unrehearsed = rehearsed_claims(questions, noise)
        return cls(
            {
                "format": FORMAT,
                "study": study,
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
                "options": _options(config),
                "texts": texts.fingerprint(),
                "selection": {
                    "seed": config.seed,
                    "folds": getattr(config, "folds", None),
                    "level": LEVEL,
                },
                "questions": {
                    question.__name__: {
                        "asks": (question.__doc__ or "").strip().partition("\n")[0],
                        "code": _code(question),
                    }
                    for question in questions
                },
                "claims": {
                    name: [{key: jsonable(claim)[key] for key in STATED} for claim in made]
                    for name, made in claims.items()
                },
                "not rehearsed": list(unrehearsed),
            }
        )

    @classmethod
    def open(cls, path: Path) -> "Registration":
        """Read a registration.

        Raises:
            ValueError: there is none, it was changed after it was written, or is of another format.
        """
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            content, digest = stored["content"], stored["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no registration: {error}") from error
        if digest != _digest(content):
            raise ValueError(f"{path} was changed after it was written: its SHA-256 is another")
        if content["format"] != FORMAT:
            raise ValueError(f"{path} has format {content['format']}, not {FORMAT}")
        return cls(content)

    def save(self, path: Path) -> None:
        """Write it to a new file.

        Raises:
            ValueError: the file is there already.
        """
        if path.exists():
            raise ValueError(f"{path} is there already; a registration is written once")
        write_atomically(path, as_json({"sha256": self.digest, "content": self.content}))

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return _digest(self.content)

    def check(self, study: str, config: RunConfig, texts: Any) -> None:
        """Refuse a run that is not the registered one.

        Raises:
            ValueError: another study, texts or option, by name with both values.
        """
        if study != self.content["study"]:
            raise ValueError(f"{self.content['study']!r} was registered, not {study!r}")
        given = _options(config)
        for name, registered in self.content["options"].items():
            if given.get(name) != registered:
                raise ValueError(
                    f"{name} = {given.get(name)}, but {registered} was registered; run what was "
                    "registered, or leave registered out"
                )
        if texts.fingerprint() != self.content["texts"]:
            raise ValueError("the texts are not those that were registered")

    def marked(self, question: Callable[..., Any], claims: Sequence[Claim]) -> list[Claim]:
        """A question's claims, each with whether it was registered."""
        name = question.__name__
        known = self.content["questions"].get(name)
        if known is None or known["code"] != _code(question):
            return [replace(claim, registered=False) for claim in claims]
        if name in self.content["not rehearsed"]:
            return [replace(claim, registered=True) for claim in claims]
        stated = {(claim["kind"], claim["statement"]) for claim in self.content["claims"][name]}
        return [
            replace(claim, registered=(claim.kind, claim.statement) in stated) for claim in claims
        ]

    def __str__(self) -> str:
        claims = [claim for made in self.content["claims"].values() for claim in made]
        findings = sum(claim["kind"] == "finding" for claim in claims)
        waiting = self.content["not rehearsed"]
        named = f"; not rehearsed, as they need a model: {', '.join(waiting)}" if waiting else ""
        return (
            f"registered {len(claims)} claims, of which {findings} findings, of "
            f"{len(self.content['questions'])} questions{named}\nSHA-256 {self.digest}"
        )


def _options(config: RunConfig) -> dict[str, Any]:
    given = {field.name: getattr(config, field.name) for field in fields(config)}
    return jsonable({name: value for name, value in given.items() if name not in WHERE})


def _code(question: Callable[..., Any]) -> str:
    """SHA-256 of the source of the question's module."""
    module = sys.modules[question.__module__]
    return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(as_json(content).encode()).hexdigest()
