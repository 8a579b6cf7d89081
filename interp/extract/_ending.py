"""A text's last token as the place to read, of a text that may have to be cut.

1. Tokenize the text. A tokenizer that ends texts with a token of its own is refused: that token is
   the same for all texts.
2. A text of at most `limit` tokens stands as it is.
3. Of a longer one its first `limit` tokens are taken, as text. Cut between two characters of a
   word, or two bytes of a character, they would be tokenized otherwise: the cut then moves before
   them.
"""

from transformers import PreTrainedTokenizerFast

from interp.positions import Sample, align

LAST = "last"
"""Name of the position."""


def last_token(tokenizer: PreTrainedTokenizerFast, text: str, *, limit: int) -> Sample:
    """A text, or its first `limit` tokens, with its last token as the position `last`.

    Raises:
        ValueError: the tokenizer ends a text with a token of its own, or `limit` leaves no token of
            the text.
    """
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if not _ends(tokenizer, text, ids):
        raise ValueError(
            f"the tokenizer ends a text with {tokenizer.decode(ids[-1:])!r}, which is no part of "
            f"it: the last token would hold no text, of ...{text[-40:]!r}"
        )
    if len(ids) <= limit:
        return _sample(text)
    for n in range(limit, 0, -1):
        start = text[: offsets[n - 1][1]]
        if start.strip() and _ends(tokenizer, start, ids[:n]):
            return _sample(start)
    raise ValueError(f"max_length = {limit} leaves no token of a text: {text[:40]!r}...")


def _ends(tokenizer: PreTrainedTokenizerFast, text: str, ids: list[int]) -> bool:
    """Whether a text has these tokens, and the last of them is of its last characters."""
    (aligned,) = align(tokenizer, [_sample(text)], [LAST])
    return aligned.ids == ids and int(aligned.tokens[0][-1]) == len(ids) - 1


def _sample(text: str) -> Sample:
    return Sample(text, {LAST: (0, len(text))})
