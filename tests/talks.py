"""Transcripts made in a line or two, and tokenizers with a chat template."""

from tiny_models import tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from interp.transcripts import Transcript, Turn

CHATML = (
    "{{ bos_token }}<|im_start|>system\nAn assistant helps a user.<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)
"""The template of Qwen and SmolLM2, with a system prompt of its own."""


def transcript_of(*turns: tuple[str, str], name: str = "talk") -> Transcript:
    """A transcript of (speaker, text) turns."""
    made = tuple(Turn(speaker, text) for speaker, text in turns)
    return Transcript(name, made, tuple(sorted({turn.speaker for turn in made})))


def lines(*speakers: str) -> str:
    """Lines of speakers, one remark each."""
    return "".join(f"{name}: remark {i}\n" for i, name in enumerate(speakers))


def templated(template: str, family: str = "qwen2") -> PreTrainedTokenizerFast:
    """A tiny tokenizer with a chat template."""
    base = tiny_tokenizer(family)
    names = {k: v for k, v in base.special_tokens_map.items() if isinstance(v, str)}
    made = PreTrainedTokenizerFast(tokenizer_object=base.backend_tokenizer, **names)
    made.chat_template = template
    return made
