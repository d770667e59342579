"""The next token: what a model says after a text, how likely a string is, and going on from it."""

from lens_core.next_token_prediction.continuing import Continuation
from lens_core.next_token_prediction.reading import next_token, next_token_from_logits
from lens_core.next_token_prediction.result import NextToken, Step
from lens_core.next_token_prediction.strings import StringProbability, string_probability

__all__ = [
    "Continuation",
    "NextToken",
    "Step",
    "StringProbability",
    "next_token",
    "next_token_from_logits",
    "string_probability",
]
