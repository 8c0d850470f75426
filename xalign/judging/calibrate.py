"""`calibrate`: find how hard to steer, and at which tokens, for a change of language in sound text."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Unpack

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import known_options, number, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import check_texts
from xalign.judging.arms import Steering, labels_of
from xalign.judging.calibration import Calibration, Trial
from xalign.judging.comparison import check_has_texts
from xalign.judging.identify import check_known
from xalign.judging.options import OutputArguments, OutputOptions
from xalign.judging.probe import Observed, Probe
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.operators import OPERATORS, OperatorLike, resolve_operator
from xalign.model.positions import Positions, check_positions
from xalign.steering.intervention import Intervention
from xalign.steering.steer import steer

__all__ = ["Calibration", "Trial", "calibrate"]


@takes_layout
def calibrate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    what: Steering,
    texts: Mapping[str, Sequence[str]],
    *,
    operator: OperatorLike | None = None,
    strengths: Sequence[float] = (1, 2, 4, 8, 16),
    positions: Sequence[Positions] | None = None,
    max_rise: float = 0.2,
    samples: int = 100,
    seed: int = 1000,
    **options: Unpack[OutputArguments],
) -> Calibration:
    """Try strengths and positions, and choose per label the one that changes the language most within bounds.

    Units set strongly at every token change the language but ruin the text; set at the prompt only, they let
    the model go on by itself. What is best differs from set to set.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        what: Units, or language -> vector or intervention.
        texts: Language -> natural sentences, with whose loss that of the output is compared.
        operator: As in `steer`.
        strengths: The strengths to try.
        positions: Those to try, each as in `steer`. If None, `"prompt"` and `"all"`; for interventions, their
            own.
        max_rise: How far the unedited model's loss on output may exceed natural text's, in nats per token.
        samples: Continuations per trial.
        seed: Seed of the sampling; judge with other seeds (`evaluate` begins at 0).
        **options: `prompt`, `generation`, `identify` and `token_budget`, as in `evaluate`.

    Returns:
        All trials, and the best of each label.

    Raises:
        ArgumentError: Nothing to try, or a label without texts or unknown to `identify`.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = find_units(model, tokenizer, texts, share=0.1)
        >>> calibration = calibrate(model, tokenizer, units, texts, strengths=[1, 4], samples=3, max_rise=9)
        >>> len(calibration.tried)
        8
    """
    known_options("calibrate", options, [*OutputArguments.__annotations__, "samples"])
    check_texts(texts)
    _check_tried(what, strengths, positions)
    seed, max_rise = whole_number("seed", seed), number("max_rise", max_rise)
    if operator is not None:
        resolve_operator(operator, OPERATORS)
    settings = OutputOptions(samples=whole_number("samples", samples, least=1), **options)
    check_known(settings.identify, labels_of(what))
    for label in labels_of(what):
        check_has_texts(label, texts)
    probe, ways = Probe(model, tokenizer, texts, settings), _ways(what, strengths, positions)
    tried = tuple(_trials(model, what, probe, operator, ways, seed))
    chosen = {label: _best(tried, label, max_rise) for label in labels_of(what)}
    return Calibration(operator, tried, chosen, max_rise)


def _ways(
    what: Steering, strengths: Sequence[float], positions: Sequence[Positions] | None
) -> dict[str, list[tuple[Positions, float]]]:
    """Return the positions and strengths to try with each label."""
    ways = {}
    for label in labels_of(what):
        one = what[label]
        own: Sequence[Positions] = (one.positions,) if isinstance(one, Intervention) else ("prompt", "all")
        ways[label] = list(itertools.product(own if positions is None else positions, strengths))
    return ways


def _check_tried(what: Steering, strengths: Sequence[float], positions: Sequence[Positions] | None) -> None:
    """Raise an error if there is nothing to try."""
    if not labels_of(what):
        raise ArgumentError("what holds no units or vectors; there is nothing to calibrate")
    if isinstance(positions, str):
        raise ArgumentTypeError(f"positions={positions!r} must be a list, like [{positions!r}]")
    if isinstance(strengths, str | bytes) or not isinstance(strengths, Sequence):
        raise ArgumentTypeError(f"strengths={strengths!r:.60} must be a list of numbers, like [1, 4]")
    if positions is not None and not isinstance(positions, Sequence):
        raise ArgumentTypeError(f"positions={positions!r:.60} must be a list, like ['prompt', 'all']")
    if not strengths or (positions is not None and not positions):
        raise ArgumentError("strengths and positions must each hold something to try")
    for strength in strengths:
        number("strengths", strength)
    for one in positions or ():
        check_positions(one)


def _trials(
    model: nn.Module,
    what: Steering,
    probe: Probe,
    operator: OperatorLike | None,
    ways: Mapping[str, Sequence[tuple[Positions, float]]],
    seed: int,
) -> Iterator[Trial]:
    """Steer with every label in every way, and yield what came of it."""
    unsteered = probe.unsteered_output(seed)
    for label in labels_of(what):
        share, natural_loss = _means(unsteered, label)
        for positions, strength in ways[label]:
            with steer(model, what[label], operator=operator, strength=strength, positions=positions):
                samples = probe.generate_samples(seed)
            steered_share, loss = _means(probe.output(samples, label), label)
            yield Trial(label, positions, strength, steered_share, share, loss - natural_loss)


def _means(observed: Observed, label: str) -> tuple[float, float]:
    """Return the mean share of the output in a language, and its mean loss."""
    return float(observed["output_share", label].mean()), float(observed["output_loss", label].mean())


def _best(tried: Sequence[Trial], label: str, max_rise: float) -> Trial | None:
    """Return the trial of a label with the highest share within bounds, or None if none raises the share."""
    within = [one for one in tried if one.label == label and one.rise <= max_rise and one.share > one.before]
    return max(within, key=lambda one: one.share, default=None)
