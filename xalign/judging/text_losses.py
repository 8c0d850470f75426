"""The loss of a causal language model on sentences, each read by itself."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ModelError
from xalign.finding.activations import check_texts
from xalign.model.batches import Batch
from xalign.model.inputs import Inputs
from xalign.model.observe import observing
from xalign.model.placement import device_of

Ids = Sequence[int]
"""A sentence's token ids; the model predicts all but the first."""


def text_losses(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    *,
    token_budget: int = 8192,
) -> dict[str, Float[Tensor, "sentence 2"]]:
    """Return per sentence the sum of its tokens' losses in nats, and how many tokens were predicted.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, of at least two tokens each.
        token_budget: The most tokens of one forward, padding included.

    Returns:
        Label -> a tensor [sentence, 2]: the sum, and the number of tokens.

    Raises:
        ModelError: A model without a language-model head.
        ArgumentError: A sentence longer than the context.

    Example:
        >>> losses = text_losses(model, tokenizer, {"eng_Latn": ["It rains.", "Good night."]})
        >>> losses["eng_Latn"].shape
        torch.Size([2, 2])
    """
    check_texts(texts)
    inputs = Inputs(model, tokenizer)
    encoded = {label: inputs.encode(sentences, label).ids for label, sentences in texts.items()}
    lost = id_losses(model, tokenizer, [ids for each in encoded.values() for ids in each], token_budget)
    return dict(zip(encoded, torch.split(lost, [len(each) for each in encoded.values()]), strict=True))


def id_losses(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Ids], token_budget: int = 8192
) -> Float[Tensor, "sentence 2"]:
    """Return the losses of token ids, as `text_losses` does; the first id of a sentence is not predicted."""
    lost = token_losses(model, tokenizer, sentences, token_budget)
    return torch.tensor([(float(one.sum()), len(one)) for one in lost], dtype=torch.float64).reshape(-1, 2)


def token_losses(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Ids], token_budget: int = 8192
) -> list[Float[Tensor, " token"]]:
    """Return the loss in nats of each token of each sentence but the first, which is not predicted.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        sentences: Token ids.
        token_budget: The most tokens of one forward, padding included.

    Returns:
        Per sentence a tensor in float64; its entry i is the loss of id i + 1.

    Raises:
        ModelError: A model without a language-model head.

    Example:
        >>> [lost.shape for lost in token_losses(model, tokenizer, [[1, 5, 7], [1, 9]])]
        [torch.Size([2]), torch.Size([1])]
    """
    can_generate = getattr(model, "can_generate", None)
    if callable(can_generate) and not can_generate():
        raise ModelError(
            f"{type(model).__name__} predicts no tokens; load a causal model with its language-model head"
        )
    lines = [(tuple(ids), (True,) * len(ids)) for ids in sentences]
    lost = [torch.zeros(0, dtype=torch.float64)] * len(lines)
    with observing(model):
        for batch in Inputs(model, tokenizer).batches(lines, token_budget=token_budget):
            found = _batch_losses(model, batch)
            for line, rows in enumerate(batch.rows):
                for row in rows:
                    lost[row] = found[line, : len(lines[row][0]) - 1]
    return lost


def _batch_losses(model: nn.Module, batch: Batch) -> Float[Tensor, "line token"]:
    """Return the loss of each token but the first; those of padding mean nothing."""
    inputs = batch.to(device_of(model))
    ids = inputs["input_ids"]
    logits = getattr(model(**inputs, use_cache=False), "logits", None)
    if logits is None or logits.dim() != 3:
        raise ModelError(f"{type(model).__name__} predicts no tokens; load it with its language-model head")
    lost = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2).float(), ids[:, 1:], reduction="none"
    )
    return lost.double().cpu()
