"""Replay: text whose language-modelling loss preserves the language model while its languages are aligned."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.batches import pad_documents
from xalign.model.inputs import Inputs
from xalign.model.placement import device_of
from xalign.training.documents import encode_documents, read_lines


class Replay:
    """Draws documents from (seed, step, micro-step, rank), and computes their language-modelling loss.

    Args:
        texts: The documents, or a file with one per line.
        inputs: What the model takes. Documents longer than its context are cut; the tokenizer's
            end-of-sequence token, if any, ends each document.
        batch_size: Documents per micro-batch.
        seed: Decides which documents are drawn.

    Raises:
        ArgumentError: A file that cannot be read, fewer documents than a batch takes, a document without a
            loss, or ids that the model does not embed.
        ArgumentTypeError: Neither a file nor a list of texts.
    """

    def __init__(
        self, texts: str | Path | Sequence[str], inputs: Inputs, *, batch_size: int, seed: int
    ) -> None:
        texts = _documents(texts)
        if len(texts) < batch_size:
            raise ArgumentError(
                f"replay holds {len(texts)} document(s), fewer than replay_batch_size={batch_size}; give "
                "more, or lower it"
            )
        tokenizer = inputs.tokenizer
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self._documents = encode_documents("replay", texts, inputs, end)
        self._batch_size, self._pad_id, self._seed = batch_size, inputs.pad_id, seed

    def draw(
        self, step: int, micro_step: int, rank: int, device: torch.device | None = None
    ) -> dict[str, Tensor]:
        """Return a batch of documents: ids, mask and labels."""
        order = random.Random(f"replay {self._seed} {step} {micro_step} {rank}")
        drawn = order.sample(self._documents, self._batch_size)
        return {name: values.to(device) for name, values in pad_documents(drawn, self._pad_id).items()}

    def loss(self, model: nn.Module, step: int, micro_step: int, rank: int) -> Tensor:
        """Compute the mean loss per token of a batch of documents, in nats."""
        return replayed(model, self.draw(step, micro_step, rank, device_of(model)))[0]


def replayed(model: nn.Module, documents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean loss per token of some documents, in nats, and the logits [document, token, word]."""
    output = model(**documents, use_cache=False)
    return output.loss, output.logits


def _documents(texts: str | Path | Sequence[str]) -> list[str]:
    """Return the documents, read from a file where one is named."""
    if isinstance(texts, str | Path):
        texts = _read(texts)
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ArgumentTypeError(f"replay must be a file or a list of texts, not {texts!r:.60}")
    files = [text for text in texts[:8] if len(text) < 256 and Path(text).is_file()]
    if files:
        raise ArgumentError(
            f"replay holds the names of files, like {files[0]!r}, and would learn these names; give one "
            "file, or the texts themselves"
        )
    return list(texts)


def _read(file: str | Path) -> list[str]:
    if Path(file).suffix in (".json", ".jsonl"):
        raise ArgumentError(f"replay={str(file)!r} is JSON; give a text file with a document per line")
    return read_lines("replay", file)
