"""`Comparison`: the same observations of a model without steering and under every arm."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import function_of, names
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging.arms import Arm, Arms, Steering, Texts, labels_of
from xalign.judging.evaluation import Evaluation, Observation
from xalign.judging.identify import check_known
from xalign.judging.options import EvaluateOptions
from xalign.judging.probe import BOUNDS, Observed, Probe
from xalign.measurement.run import Measurement
from xalign.model.numbers import is_numbers, listed
from xalign.model.positions import Positions
from xalign.pairs.languages import match_language
from xalign.pairs.parallel import ParallelPairs
from xalign.steering.intervention import Intervention
from xalign.steering.steer import steer

How = Mapping[str, Any] | Callable[[str], Mapping[str, Any]]
"""Arguments of `steer`, or a function from a label to these."""

# Tokens at these positions come last in a given text, where no loss depends on them, or are not in it.
_NOT_IN_TEXTS = ("generated", "last_prompt")


class Comparison:
    """Observe a model without steering, and under every arm with every label.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        texts: Language -> held-out sentences whose loss is measured.
        pairs: Held-out parallel sentences for alignment, or None.
        how: Arguments of `steer`; its defaults if None.
        labels: Steer with these only; with all that are found if None.
        options: What is sampled and measured.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        texts: Texts,
        pairs: ParallelPairs | None,
        how: How | None,
        labels: Sequence[str] | None,
        options: EvaluateOptions,
    ) -> None:
        self._model, self._texts, self._options = model, texts, options
        self._how, self._labels = how, None if labels is None else names("labels", labels)
        if callable(how):
            function_of("how", how, "label")
        elif how is not None:
            _steer_arguments(how, "")
        self._probe = Probe(model, tokenizer, texts, options)
        self._measurements: dict[str, Measurement] = {}
        if pairs is not None:
            for language in pairs:
                self._measurements[language] = Measurement(
                    model,
                    tokenizer,
                    pairs.only([language]),
                    options.metrics,
                    token_budget=options.token_budget,
                )
        self._bounds: dict[str, tuple[float, float] | None] = dict(BOUNDS)
        for measurement in self._measurements.values():
            self._bounds |= {metric.name: metric.scale.bounds for metric in measurement.metrics}
        self._observations: list[Observation] = []
        self._left_out: dict[str, str] = {}

    def run(self, arms: Arms) -> Evaluation:
        """Observe everything, and return it with intervals.

        Raises:
            ArgumentError: Nothing could be observed.
        """
        if self._options.shuffles and not arms.finds:
            self._left_out["shuffled"] = (
                "no control of shuffled labels: it takes a function that finds the units"
            )
        unsteered = self._probe.losses()
        for measurement in self._measurements.values():
            unsteered |= _alignment(measurement)
        for seed in arms.seeds:
            self._run_seed(seed, arms, unsteered)
        left_out = tuple(self._left_out.values())
        if not self._observations:
            raise ArgumentError(
                f"nothing was observed: {'; '.join(left_out)}; pass samples= to observe what is generated"
            )
        return Evaluation(tuple(self._observations), left_out)

    def _run_seed(self, seed: int, arms: Arms, unsteered: Observed) -> None:
        """Observe the model under every arm of a seed."""
        before = unsteered | (self._probe.unsteered_output(seed) if self._options.samples else {})
        arguments_of: dict[str, dict[str, Any]] = {}
        changes: dict[str, bool] = {}
        for arm in arms.of(seed):
            if not arm.is_control:
                arguments_of = self._arguments_of(arm.found)
                changes = {
                    label: self._changes_texts(_positions_of(arm.found[label], arguments))
                    for label, arguments in arguments_of.items()
                }
            for label, arguments in arguments_of.items():
                # Of units given, only what is sampled differs from seed to seed.
                with_texts = changes[label] and (arms.finds or seed == arms.seeds[0])
                if label in labels_of(arm.found):
                    after = self._steered(arm.found, label, arguments, seed, with_texts)
                else:  # a control that found nothing changes nothing
                    after = unsteered if with_texts else {}
                self._add(arm, label, seed, before, after)

    def _steered(
        self, found: Steering, label: str, arguments: Mapping[str, Any], seed: int, with_texts: bool
    ) -> Observed:
        """Observe the model while it is steered with a label."""
        observed: Observed = {}
        with steer(self._model, found[label], **arguments):
            if with_texts:
                observed |= self._probe.losses()
                if label in self._measurements:
                    observed |= _alignment(self._measurements[label])
            samples = self._probe.generate_samples(seed) if self._options.samples else None
        return observed if samples is None else observed | self._probe.output(samples, label)

    def _add(self, arm: Arm, label: str, seed: int, before: Observed, after: Observed) -> None:
        """Keep what was observed, beside the same without steering."""
        self._observations += [
            Observation(
                label,
                arm.name,
                seed,
                arm.number,
                quantity,
                language,
                before[quantity, language],
                values,
                self._bounds.get(quantity),
            )
            for (quantity, language), values in after.items()
        ]

    def _arguments_of(self, found: Steering) -> dict[str, dict[str, Any]]:
        """Return the labels to steer with and how, all checked before anything is run."""
        labels = self._chosen_labels(found)
        arguments = {label: _steer_arguments(self._how, label) for label in labels}
        if self._options.samples:
            check_known(self._options.identify, labels)
        return arguments

    def _chosen_labels(self, found: Steering) -> list[str]:
        """Return the labels to steer with, all of which have texts."""
        there = labels_of(found)
        asked = self._labels
        chosen = there if asked is None else [match_language(one, there) or one for one in asked]
        if not there:
            raise ArgumentError("what holds no units or vectors; there is nothing to judge")
        absent = [label for label in chosen if label not in there]
        if absent or not chosen:
            raise ArgumentError(
                f"labels={self._labels!r}: no units or vectors of {', '.join(absent) or 'any'}; there is "
                f"{there}"
            )
        for label in chosen:
            check_has_texts(label, self._texts)
        return chosen

    def _changes_texts(self, where: Positions | None) -> bool:
        """Return whether a given text is changed; if it is not, note what is left out."""
        where = "last_prompt" if is_numbers(where) and set(listed(where)) == {-1} else where
        if not isinstance(where, str) or where not in _NOT_IN_TEXTS:
            return True
        self._left_out[where] = (
            f"no loss and no alignment: in a text no token is {where!r} and followed by another"
        )
        return False


def check_has_texts(label: str, texts: Texts) -> None:
    """Raise an error for a label that is steered and has no texts."""
    if label not in texts:
        raise ArgumentError(f"texts has no {label!r}, which is steered; it has {', '.join(texts)}")


def _positions_of(what: object, arguments: Mapping[str, Any]) -> Positions | None:
    """Return the tokens that are changed: those that `steer` is told, else those an intervention names."""
    told: Positions | None = arguments.get("positions")
    return what.positions if told is None and isinstance(what, Intervention) else told


def _steer_arguments(how: How | None, label: str) -> dict[str, Any]:
    """Return the arguments of `steer` for a label."""
    given = how(label) if callable(how) else {} if how is None else how
    if not isinstance(given, Mapping) or set(given) - {"operator", "strength", "positions"}:
        raise ArgumentTypeError(
            f"how={given!r:.80} must hold arguments of steer, like {{'operator': 'zero'}}: operator, "
            "strength, positions"
        )
    return dict(given)


def _alignment(measurement: Measurement) -> Observed:
    """Return per metric and language each pair's mean over the layers."""
    report = measurement.run()
    return {
        (metric, language): report.per_pair(metric, language)
        for metric in report.measured
        for language in report.languages
    }
