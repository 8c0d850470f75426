"""`Probe`: what a model loses on texts and what it says by itself, as it is at the moment, steered or not."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.judging.identify import Identify
from xalign.judging.sample import Sampled, sample
from xalign.judging.text_losses import id_losses, text_losses

Values = Float[np.ndarray, " item"]
Look = dict[tuple[str, str], Values]
"""(quantity, language) -> a value per sentence, pair or continuation."""


class Probe:
    """Looks at a causal language model in the same way again and again.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: Language -> natural sentences.
        samples: Continuations drawn at a time.
        prompt: What they go on from.
        generation: As in `sample`.
        identify: From text to language.
        token_budget: The most tokens of one forward, padding included.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        texts: Mapping[str, Sequence[str]],
        *,
        samples: int,
        prompt: str,
        generation: Mapping[str, Any] | None,
        identify: Identify,
        token_budget: int = 8192,
    ) -> None:
        self._text_losses = partial(text_losses, model, tokenizer, texts, token_budget=token_budget)
        self._id_losses = partial(id_losses, model, tokenizer, token_budget=token_budget)
        self._sample = partial(sample, model, tokenizer, samples, prompt=prompt, generation=generation)
        self._samples, self._identify, self._texts = samples, identify, texts
        self._tokenizer = tokenizer

    def losses(self) -> Look:
        """`loss` of every language."""
        return {("loss", language): _per_token(lost) for language, lost in self._text_losses().items()}

    def speak(self, seed: int) -> Sampled:
        """Continuations by the model as it is."""
        return self._sample(seed=seed)

    def output(self, said: Sampled, language: str) -> Look:
        """What was said: the share in a language, and what it costs the model as it is, in nats per token.

        To be called outside `steer`, so that the unedited model is the judge.
        """
        lost = self._id_losses(said.ids)
        if said.prompt > 1:
            # What the prompt itself costs is not the output's.
            lost = lost - self._id_losses([ids[: said.prompt] for ids in said.ids])
        return {
            ("output_share", language): np.array(
                [float(self._identify(text) == language) for text in said.texts]
            ),
            ("output_loss", language): _per_token(lost),
        }

    def usual_output(self, seed: int) -> Look:
        """Per language the share of what the unsteered model says, and what natural text costs it."""
        said = [self._identify(text) for text in self.speak(seed).texts]
        look: Look = {}
        for language in self._texts:
            look["output_share", language] = np.array([float(one == language) for one in said])
            look["output_loss", language] = np.full(self._samples, self._natural[language])
        return look

    @cached_property
    def _natural(self) -> dict[str, float]:
        # As what is sampled: behind the beginning of a sequence, and without its end.
        beginning = [] if self._tokenizer.bos_token_id is None else [self._tokenizer.bos_token_id]
        return {
            language: float(
                _per_token(
                    self._id_losses(
                        [
                            beginning + self._tokenizer(text, add_special_tokens=False)["input_ids"]
                            for text in sentences
                        ]
                    )
                ).mean()
            )
            for language, sentences in self._texts.items()
        }


def _per_token(lost: Tensor) -> Values:
    """Per sentence a value whose mean is the loss per token of all, and varies as that ratio does.

    Infinite where not one token was predicted: who says nothing does not say it well.
    """
    sums, counts = lost.numpy().T
    if not counts.sum():
        return np.full(len(sums), np.inf)
    ratio = sums.sum() / counts.sum()
    values: Values = ratio + (sums - ratio * counts) / counts.mean()
    return values
