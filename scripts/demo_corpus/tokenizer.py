"""The demo models' tokenizer: byte-level BPE that cuts the way Qwen2 does, with merges of our own.

`AutoTokenizer` gives every Qwen2 folder Qwen2's own cutting rule, whatever tokenizer.json says
(transformers 5), so training has to use that rule too. The merges are learnt with one more cut:
Chinese and Japanese are split into words, so that the prompt 法国的首都是 ends where a token ends.
"""

import json
from typing import Any, cast

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer

from .documents import END, START
from .traces import END_THINK, THINK

_FUNCTION_WORDS = "的是在叫说和"
_WORDS_WITHOUT_SPACES = (
    rf"[\u3041-\u309F]+|[\u30A0-\u30FF]+|[{_FUNCTION_WORDS}]|[\p{{Han}}&&[^{_FUNCTION_WORDS}]]+"
)


def _learn_merges(texts: list[str], size: int) -> Tokenizer:
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS_WITHOUT_SPACES), "isolated"),
            Qwen2Tokenizer().backend_tokenizer.pre_tokenizer,
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    return learner


def train_tokenizer(texts: list[str], *, size: int) -> Qwen2Tokenizer:
    """A tokenizer of the given size that puts the start token in front of every text."""
    learned = json.loads(_learn_merges(texts, size - 2).to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=cast("Any", [tuple(pair) for pair in learned["merges"]]),
        unk_token=cast("Any", None),
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=512,
    )
    added: Any = [AddedToken(token, normalized=False) for token in (THINK, END_THINK)]
    tokenizer.add_tokens(added)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A",
        pair=f"{START} $A {START}:1 $B:1",
        special_tokens=[(START, tokenizer.bos_token_id)],
    )
    return tokenizer


def special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """The ids of the start token and of the token that ends and pads."""
    start, end = cast("list[int]", tokenizer.convert_tokens_to_ids([START, END]))
    return start, end
