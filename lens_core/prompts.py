"""From a prompt to token ids, and the end of a prompt that is too long."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from lens_core.errors import InputError, PromptError
from lens_core.tokens import token_records

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lens_core.models import LoadedModel

_EARLIER = 8
"""Cuts tried before the first one that was found to fit: an end can have fewer tokens than a
shorter one, where cutting changes how its first characters are joined."""


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    template: str | None,
    special: str,
    name: str = "prompt",
) -> list[int]:
    """Token ids of a prompt; `LoadedModel.tokenize` says what the options mean.

    Raises:
        PromptError: an empty prompt, half a character, no tokens, or no chat template.
        InputError: an unknown `template` or `special`.
    """
    if not isinstance(text, str):
        raise InputError(f"The {name} must be text; it is a {type(text).__name__}.")
    if not text:
        raise PromptError(f"The {name} is empty (0 characters); type at least one character.")
    check_whole(text, name)
    if special not in ("default", "none", "bos"):
        raise InputError(f'special is "{special}"; it can be "default", "none" or "bos".')
    ids = _encoded(tokenizer, text, template, special)
    if not ids:
        raise PromptError(f"The {name} has 0 tokens in this tokenizer; type another text.")
    return ids


def check_whole(text: str, name: str) -> None:
    """Refuse half characters, which no tokenizer and no network takes.

    Raises:
        PromptError: there is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The {name} holds U+{ord(text[error.start]):04X} at position {error.start}, which "
            "is half a character; remove it."
        ) from error


def _encoded(
    tokenizer: PreTrainedTokenizerBase, text: str, template: str | None, special: str
) -> list[int]:
    if template is not None:
        text = _chat(tokenizer, text, template)
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    ids = list(tokenizer(text, add_special_tokens=special != "none", verbose=False)["input_ids"])
    bos = tokenizer.bos_token_id
    if special == "bos" and bos is not None and ids[:1] != [bos]:
        ids = [bos, *ids]
    return ids


def _chat(tokenizer: PreTrainedTokenizerBase, text: str, template: str) -> str:
    """The text that the tokenizer's chat template makes of one user turn."""
    if template != "chat":
        raise InputError(f'template is "{template}"; it can be None or "chat".')
    if not tokenizer.chat_template:
        raise PromptError("This tokenizer has no chat template; use the plain prompt.")
    turns = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def shortened(
    loaded: LoadedModel,
    text: str,
    *,
    limit: int,
    template: str | None = None,
    special: str = "default",
) -> str:
    """The longest end of a prompt with at most `limit` tokens, special tokens and template counted.

    It starts where a token of the whole prompt starts, and never inside a character as a reader
    sees it (an accent, a flag or a family of emoji stays whole). Where the tokenizer changes the
    text, so that its tokens have no places in it, any character may come first. The end is
    tokenised again to count it, since cutting can join its first characters in another way.

    Args:
        loaded: the model whose tokenizer counts.
        text: the prompt.
        limit: the most tokens.
        template: as in `LoadedModel.tokenize`.
        special: as in `LoadedModel.tokenize`.

    Raises:
        PromptError: the prompt cannot be read, or not even its last character fits.
    """
    whole = loaded.tokenize(text, template=template, special=special)
    if len(whole) <= limit:
        return text
    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    cuts = _cuts(tokenizer, text)

    def tokens(index: int) -> int:
        return len(_encoded(tokenizer, text[cuts[index] :], template, special))

    every = range(len(cuts))
    first = bisect_left(every, True, key=lambda index: tokens(index) <= limit)
    if first == len(cuts):
        least = f"even its last character has {tokens(-1)}" if cuts else "it cannot be cut"
        raise PromptError(
            f"The prompt has {len(whole)} tokens and the limit is {limit}; {least}, with special "
            "tokens and template. Use a plain prompt, or raise the limit."
        )
    earlier = range(max(0, first - _EARLIER), first)
    best = next((index for index in earlier if tokens(index) <= limit), first)
    return text[cuts[best] :]


def _cuts(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Where an end of the text may start, in ascending order."""
    import regex

    characters = {match.start() for match in regex.finditer(r"\X", text)} - {0}
    starts = _token_starts(tokenizer, text)
    return sorted(characters if starts is None else characters & starts)


def _token_starts(tokenizer: PreTrainedTokenizerBase, text: str) -> set[int] | None:
    """Where in the text its tokens start; None where the tokens spell another text."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    records = token_records(tokenizer, ids)
    joined = "".join(record["text"] for record in records)
    if not joined.endswith(text):
        return None
    # Some tokenizers put a space before the text.
    place = len(text) - len(joined)
    starts = set()
    for before, record in zip([None, *records], records, strict=False):
        if before is None or before["cluster"] != record["cluster"]:
            starts.add(place)
        place += len(record["text"])
    return starts
