"""`Probe`: a model's losses on texts and what it generates, as it is at the moment, steered or not."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.judging.options import OutputOptions
from xalign.judging.sample import Sampled, sample
from xalign.judging.text_losses import id_losses, text_losses
from xalign.model.tokenizer_state import keeping

Values = Float[np.ndarray, " item"]
Observed = dict[tuple[str, str], Values]
"""(quantity, language) -> a value per sentence, pair or continuation."""

BOUNDS: Mapping[str, tuple[float, float]] = {"output_share": (0.0, 1.0)}
"""The quantities that have a smallest and a largest value, and these values."""


class Probe:
    """Observe a causal language model in the same way again and again.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: Language -> natural sentences.
        options: What is sampled, and how it is judged.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        texts: Mapping[str, Sequence[str]],
        options: OutputOptions,
    ) -> None:
        budget = options.token_budget
        self._text_losses = partial(text_losses, model, tokenizer, texts, token_budget=budget)
        self._id_losses = partial(id_losses, model, tokenizer, token_budget=budget)
        self._sample = partial(
            sample, model, tokenizer, options.samples, prompt=options.prompt, generation=options.generation
        )
        self._tokenizer, self._texts, self._options = tokenizer, texts, options

    def losses(self) -> Observed:
        """Return the `loss` of every language, in nats per token."""
        return {("loss", language): _per_token(lost) for language, lost in self._text_losses().items()}

    def generate_samples(self, seed: int) -> Sampled:
        """Sample continuations with the model as it is."""
        return self._sample(seed=seed)

    def output(self, samples: Sampled, language: str) -> Observed:
        """Return the share of samples in a language, and their loss in nats per token.

        The loss is that of the model as it is now: call this outside `steer`, so that the unedited model is
        the judge.
        """
        lost = self._id_losses(samples.ids)
        if samples.prompt > 1:
            # The prompt's own loss is not the output's.
            lost = lost - self._id_losses([ids[: samples.prompt] for ids in samples.ids])
        in_language = [float(self._options.identify(text) == language) for text in samples.texts]
        return {
            ("output_share", language): np.array(in_language),
            ("output_loss", language): _per_token(lost),
        }

    def unsteered_output(self, seed: int) -> Observed:
        """Return per language the share of unsteered samples in it, and the loss of its natural text."""
        languages = [self._options.identify(text) for text in self.generate_samples(seed).texts]
        observed: Observed = {}
        for language in self._texts:
            observed["output_share", language] = np.array([float(one == language) for one in languages])
            observed["output_loss", language] = np.full(self._options.samples, self._natural_loss[language])
        return observed

    @cached_property
    def _natural_loss(self) -> dict[str, float]:
        """The loss per token of each language's texts, read as samples are.

        That is behind the beginning-of-sequence token, and without an end-of-sequence token.
        """
        beginning = [] if self._tokenizer.bos_token_id is None else [self._tokenizer.bos_token_id]
        losses = {}
        for language, sentences in self._texts.items():
            with keeping(self._tokenizer):
                coded = [self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in sentences]
            losses[language] = float(_per_token(self._id_losses([beginning + ids for ids in coded])).mean())
        return losses


def _per_token(lost: Tensor) -> Values:
    """Return a value per sentence; their mean is the loss per token of all, and they vary as that ratio does.

    Infinite where not one token was predicted, so that empty output is never the best.
    """
    sums, counts = lost.numpy().T
    if not counts.sum():
        return np.full(len(sums), np.inf)
    ratio = sums.sum() / counts.sum()
    values: Values = ratio + (sums - ratio * counts) / counts.mean()
    return values
