"""Subtract each language's mean, where that helps on control pairs."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from xalign.finding.mean_difference import mean_difference
from xalign.improving.improvement import verdict_of
from xalign.measurement import measure
from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Metrics
from xalign.model.architectures.map import map_model
from xalign.model.encode import Template, fill_template
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.pairs.parallel import ParallelPairs
from xalign.results.report import AlignmentReport
from xalign.steering.steer import steer
from xalign.units.language_vector import LanguageVector
from xalign.views.stages import change_of_stages

FITTED = 300
"""The number of sentences per language that a mean is taken over."""


@dataclass(frozen=True, slots=True)
class Centring:
    """The means of a model's languages.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        vectors: Language -> its mean at the end of every block.
        options: How sentences are measured.
    """

    model: nn.Module
    tokenizer: Processing
    vectors: Mapping[str, LanguageVector]
    options: MeasureOptions

    def measure(self, pairs: ParallelPairs, metrics: Metrics, step: int | None = None) -> AlignmentReport:
        """Measure with each language's mean subtracted, that of the pivot too."""
        return measure(
            self.model,
            self.tokenizer,
            pairs,
            metrics,
            step=step,
            **self.options | {"steered": lambda code: steer(self.model, self.vectors[code], strength=-1)},
        )

    def helps(self, control: ParallelPairs, metric: str) -> tuple[str, ...]:
        """Return the languages whose score on control pairs surely rises, by the paired 95 % interval."""
        plain = measure(self.model, self.tokenizer, control, [metric], **self.options)
        centred = self.measure(control, [metric])
        stages = {"plain": plain, "centred": centred}
        is_up = centred.scale(metric).higher_is_better
        changes = {code: change_of_stages(stages, metric, code) for code in centred.languages}
        return tuple(
            code
            for code, (_, (low, high)) in changes.items()
            if verdict_of(low, high, is_up=is_up) == "better"
        )


def fit_centring(
    model: nn.Module, tokenizer: Processing, pairs: ParallelPairs, options: MeasureOptions
) -> Centring:
    """Take the mean of every language's states at the end of every block.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        pairs: What it was trained on; the first sentences of each language are used.
        options: How sentences are measured; only the template is used for the means.
    """
    texts = {
        code: [_filled(options.get("template"), code, sentence) for sentence in own[:FITTED]]
        for code, own in pairs.texts.items()
    }
    blocks = [site for site in map_model(model).sites("hidden") if isinstance(site.layer, int)]
    vectors = mean_difference(model, tokenizer, texts, blocks, from_others=False, block_by_block=True)
    return Centring(model, tokenizer, vectors, options)


def _filled(template: Template | None, code: str, sentence: str | Audio) -> str | Audio:
    return fill_template(template, sentence, code, "")[0] if isinstance(sentence, str) else sentence
