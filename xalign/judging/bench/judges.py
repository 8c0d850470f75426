"""Judges of steering: do the outputs speak the language, and do they keep the meaning?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError
from xalign.finding.activations import activations
from xalign.judging.identify import Identify
from xalign.judging.sample import Sampled, continue_each
from xalign.judging.text_losses import id_losses
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.retrieval import retrieval_from_pivot
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Pool, Site
from xalign.pairs.parallel import ParallelPairs

Vectors = Float[Tensor, "sentence width"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge saw of one way to steer, one entry per pair.

    Attributes:
        language: Whether the output is in the language steered to.
        meaning: Whether the output is nearest to the translation of its own source, among those of all pairs.
        loss: Loss per token of the outputs under the unedited model, in nats; None for states.
    """

    language: Bool[Tensor, " pair"]
    meaning: Bool[Tensor, " pair"]
    loss: float | None


class Judge(Protocol):
    """Run the sources of some pairs through a model as it is, and judge the outputs outside `steer`."""

    @property
    def generates(self) -> bool:
        """Whether the model writes tokens of its own, at which steering may act or not."""

    def run(self, pairs: ParallelPairs, label: str) -> Any:
        """Return what the model makes of the pivot sentences; called inside `steer`."""

    def judge(self, output: Any, pairs: ParallelPairs, label: str) -> Judged:
        """Judge an output; called outside `steer`."""


@dataclass
class JudgeOfTexts:
    """Judges what a causal model writes after each pivot sentence.

    An output keeps the meaning if, of all references in its language, that of its own source is the nearest
    by the cosine of the unedited model's states. The states are taken at the block where the unedited model
    pairs sources and references best, on the pairs to choose with.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        chosen_on: The pairs to choose the block with.
        identify: From text to language.
        prompt: What the model is given, with `{text}` in place of the source. Outputs and references are
            compared in the same form.
        generation: Arguments of `generate`, as in `sample`; greedy by default.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    chosen_on: ParallelPairs
    identify: Identify
    prompt: str = "{text}"
    generation: Mapping[str, Any] = field(default_factory=dict)
    _site: Site | None = None
    _references: dict[tuple[str, str], Vectors] = field(default_factory=dict)
    generates = True

    def run(self, pairs: ParallelPairs, label: str) -> list[Sampled]:
        """Return a continuation per pivot sentence."""
        prompts = [self.prompt.format(text=text) for text in pairs[label].pivot_sentences]
        generation = {"do_sample": False, "max_new_tokens": 32, **self.generation}
        return continue_each(self.model, self.tokenizer, prompts, generation=generation)

    def judge(self, output: list[Sampled], pairs: ParallelPairs, label: str) -> Judged:
        """Judge the continuations with the unedited model."""
        texts = [one.texts[0].strip() for one in output]
        language = torch.tensor([self.identify(text) == label for text in texts])
        meaning = torch.zeros(len(texts), dtype=torch.bool)
        written = [row for row, text in enumerate(texts) if text]
        if written:
            own = torch.zeros(len(texts), self._references_of(pairs, label).shape[1])
            own[written] = self._embed([texts[row] for row in written])
            own[[row for row, text in enumerate(texts) if not text]] = torch.nan
            meaning = retrieval_from_pivot(cosine_matrix(own, self._references_of(pairs, label)))
        return Judged(language, meaning, self._loss(output))

    def _loss(self, output: Sequence[Sampled]) -> float:
        lost = id_losses(self.model, self.tokenizer, [one.ids[0] for one in output])
        of_prompts = id_losses(self.model, self.tokenizer, [one.ids[0][: one.prompt] for one in output])
        sums, counts = (lost - of_prompts).sum(dim=0).tolist()
        return sums / counts if counts else float("inf")

    def _references_of(self, pairs: ParallelPairs, label: str) -> Vectors:
        key = (pairs.fingerprint, label)
        if key not in self._references:
            self._references[key] = self._embed(pairs[label].sentences)
        return self._references[key]

    def _embed(self, texts: Sequence[str]) -> Vectors:
        if self._site is None:
            self._site = self._best_site()
        return _states(
            self.model, self.tokenizer, [self.prompt.format(text=one) for one in texts], self._site
        )

    def _best_site(self) -> Site:
        """Return the block whose states pair sources and references best, over all languages."""
        found: dict[Site, float] = {}
        for site in map_model(self.model).sites("hidden"):
            hits = []
            for bitext in self.chosen_on.values():
                sides = [
                    _states(self.model, self.tokenizer, [self.prompt.format(text=one) for one in side], site)
                    for side in (bitext.pivot_sentences, bitext.sentences)
                ]
                hits.append(retrieval_from_pivot(cosine_matrix(*sides)).float().mean())
            found[site] = float(torch.stack(hits).mean())
        return max(found, key=lambda site: found[site])


@dataclass
class JudgeOfStates:
    """Judges the sentence states of an encoder, which writes nothing.

    The states are those of the pivot sentences, steered. They are in the language if the mean of its
    sentences is the nearest of all languages' means. They keep the meaning if their own translation is the
    nearest of all, in the unedited model.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        fitted_on: The pairs from which the languages' means are taken.
        pool: How states are pooled over a sentence's tokens.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    fitted_on: ParallelPairs
    pool: Pool = "mean"
    _means: dict[str, Tensor] = field(default_factory=dict)
    _references: dict[tuple[str, str], Vectors] = field(default_factory=dict)
    generates = False

    def run(self, pairs: ParallelPairs, label: str) -> Vectors:
        """Return the states of the pivot sentences."""
        return self._states(pairs[label].pivot_sentences)

    def judge(self, output: Vectors, pairs: ParallelPairs, label: str) -> Judged:
        """Judge the states by the unedited model's."""
        if not self._means:
            self._means = {
                code: self._states(texts).mean(dim=0) for code, texts in self.fitted_on.texts.items()
            }
        if label not in self._means:
            raise ArgumentError(f"label={label!r} is not among {', '.join(self._means)}")
        nearest = torch.cdist(output, torch.stack(list(self._means.values()))).argmin(dim=1)
        language = nearest == list(self._means).index(label)
        key = (pairs.fingerprint, label)
        if key not in self._references:
            self._references[key] = self._states(pairs[label].sentences)
        return Judged(language, retrieval_from_pivot(cosine_matrix(output, self._references[key])), None)

    def _states(self, texts: Sequence[str]) -> Vectors:
        return _states(self.model, self.tokenizer, texts, Site("hidden", "final"), self.pool)


def _states(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    site: Site,
    pool: Pool = "mean",
) -> Vectors:
    """Return the pooled states of texts at a site."""
    (found,) = activations(model, tokenizer, {"texts": texts}, site, pool=pool)
    return found.values
