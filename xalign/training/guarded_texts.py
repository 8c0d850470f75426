"""`GuardedTexts`: texts whose language-modelling loss says what a run forgets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.batches import pad_documents
from xalign.model.inputs import Inputs
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.wrapped import unwrapped
from xalign.training.documents import encode_documents, read_lines

FEWEST = 8
_BATCH = 16


def texts_of(guard: Mapping[str, Sequence[str]] | str | Path | None, pivot: str) -> Any:
    """Return language -> texts; those of a file, with one per line, are in the pivot language.

    Raises:
        ArgumentError: A file that cannot be read.
    """
    if not isinstance(guard, str | Path):
        return guard
    return {pivot: read_lines("guard", guard)}


class GuardedTexts:
    """Texts of one or more languages, whose loss is measured again and again.

    Args:
        texts: Language -> its texts, at least 8 of each. They are cut to the model's context.
        inputs: What the model takes.

    Raises:
        ArgumentError: Too few texts, a text without a loss, or ids that the model does not embed.
        ArgumentTypeError: Something other than a mapping to lists of texts.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]], inputs: Inputs) -> None:
        if not isinstance(texts, Mapping) or not texts:
            raise ArgumentTypeError(
                f"guard={texts!r:.60} must map languages to texts, like {{'eng_Latn': [...]}}"
            )
        self._documents: dict[str, list[list[int]]] = {}
        self._pad_id = inputs.pad_id
        for language, own in texts.items():
            if isinstance(own, str) or not isinstance(own, Sequence):
                raise ArgumentTypeError(f"guard[{language!r}] must be a list of texts")
            if len(own) < FEWEST:
                raise ArgumentError(
                    f"guard[{language!r}] holds {len(own)} text(s); the loss of fewer than {FEWEST} says "
                    "little of a language: give more"
                )
            documents = encode_documents(f"guard[{language!r}]", own, inputs, unit="text")
            self._documents[language] = sorted(documents, key=len)

    def loss(self, model: nn.Module) -> dict[str, float]:
        """Return language -> mean loss per token, in nats. The model is left as it was.

        Args:
            model: The model, as it is called.
        """
        with observing(model), torch.no_grad():
            return {language: self._loss_of(model, one) for language, one in self._documents.items()}

    def _loss_of(self, model: nn.Module, documents: list[list[int]]) -> float:
        total, count = 0.0, 0
        device = device_of(model)
        for first in range(0, len(documents), _BATCH):
            batch = documents[first : first + _BATCH]
            inputs = {name: values.to(device) for name, values in pad_documents(batch, self._pad_id).items()}
            predicted = sum(len(ids) - 1 for ids in batch)
            output = unwrapped(model)(**inputs, use_cache=False)
            total += float(output.loss) * predicted
            count += predicted
        return total / count
