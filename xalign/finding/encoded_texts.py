"""`EncodedTexts`: texts of several languages as a model takes them, in batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from xalign.model.batches import Batch
from xalign.model.inputs import TextOptions
from xalign.model.inputs_for import Processing, inputs_for
from xalign.pairs.audio import Audio


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Texts of several labels, ready to run.

    Attributes:
        batches: All texts, those of different labels together.
        label: Per text, the number of its label.
        row: Per text, its place among those of its label.
        tokens: Per text, how many tokens are pooled.
    """

    batches: list[Batch]
    label: Int[Tensor, " text"]
    row: Int[Tensor, " text"]
    tokens: Int[Tensor, " text"]


def encode_texts(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    *,
    pool_special_tokens: bool = True,
    truncate: bool = False,
    source_codes: Mapping[str, str] | None = None,
    token_budget: int = 8192,
) -> EncodedTexts:
    """Make texts, written or spoken, ready to run.

    Args:
        model: The model.
        tokenizer: Its tokenizer; for recordings, its feature extractor or processor.
        texts: Label -> sentences.
        pool_special_tokens: Pool the special tokens that the tokenizer adds, too.
        truncate: Cut sentences that are longer than the context; otherwise they are refused.
        source_codes: Label -> the code of a tokenizer that marks languages, for labels that are no codes.
        token_budget: The most tokens in one forward pass, padding included.

    Raises:
        ArgumentError: Sentences longer than the context, or as in `Inputs.encode`.
    """
    is_audio = any(isinstance(one, Audio) for sentences in texts.values() for one in sentences)
    inputs = inputs_for(model, tokenizer, is_audio)
    options = TextOptions(
        pool_special_tokens=pool_special_tokens, truncate=truncate, source_codes=source_codes
    )
    encoded = [inputs.encode(sentences, label, options) for label, sentences in texts.items()]
    return EncodedTexts(
        inputs.batches([line for one in encoded for line in one.lines], token_budget=token_budget),
        torch.tensor([number for number, one in enumerate(encoded) for _ in one.lines]),
        torch.tensor([row for one in encoded for row in range(len(one.lines))]),
        torch.tensor([count for one in encoded for count in one.pooled_tokens]),
    )
