"""Questions before they are asked: their names, where they are defined, what they need of texts."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, get_type_hints

from interp.study._asked import Part, Question


def asks(*positions: str) -> Callable[[Question], Question]:
    """Decorator of a question: the positions that it reads, which its texts must have."""

    def marked(question: Question) -> Question:
        vars(question)["positions"] = positions
        return question

    return marked


def name_of(question: Callable[..., Any] | str) -> str:
    return question.rpartition(":")[2] if isinstance(question, str) else question.__name__


def resolved(function: Callable[..., Any] | str) -> Callable[..., Any]:
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def check_question(question: Question) -> None:
    given = get_type_hints(question).get("return")
    if given is not Part:
        raise ValueError(
            f"question {question.__name__!r} is annotated to return {given}; a question returns a "
            "Part: write `-> study.Part`"
        )


def check_spans(questions: Sequence[Question], texts: Any) -> None:
    """Refuse a question that reads a position which the texts lack."""
    for question in questions:
        for position in getattr(question, "positions", ()):
            if position not in texts.positions:
                raise ValueError(
                    f"question {question.__name__!r} reads {position!r}; the texts have the "
                    f"positions {', '.join(texts.positions)}"
                )
