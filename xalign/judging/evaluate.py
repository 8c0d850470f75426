"""`evaluate`: steer, and show what changes beside what random units and shuffled labels change."""

from collections.abc import Sequence
from typing import Any, Unpack

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import known_options
from xalign.errors import ArgumentTypeError
from xalign.finding.activations import check_texts
from xalign.judging.arms import Arms, Finder, Steering, Texts
from xalign.judging.comparison import Comparison, How
from xalign.judging.evaluation import Evaluation
from xalign.judging.options import EvaluateArguments, EvaluateOptions
from xalign.model.architectures.layout_argument import takes_layout
from xalign.pairs.parallel import ParallelPairs


@takes_layout
def evaluate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    what: Steering | Finder,
    texts: Texts,
    *,
    finding: Texts | None = None,
    how: How | None = None,
    pairs: ParallelPairs | None = None,
    labels: Sequence[str] | None = None,
    samples: int = 0,
    **options: Unpack[EvaluateArguments],
) -> Evaluation:
    """Steer with each label's units or vector in turn, and compare what the model does with and without.

    The loss per token of every language is always compared. With `pairs`, so is the alignment of the steered
    language, and with `samples` the share of output in it and the output's loss in the unedited model.
    Controls go through the same: random units at the same sites, random directions of the same norms, or an
    intervention's own; and, if `what` is a finder, what it finds under shuffled labels.

    Args:
        model: A causal language model. For encoders use `measure(..., steered=)`.
        tokenizer: Its tokenizer.
        what: Units; or language -> vector or intervention; or a finder, a function (model, tokenizer, texts)
            that returns one of these and is called once per seed with a random half of `finding`.
        texts: Language -> held-out sentences whose loss is measured, for all languages that might suffer.
        finding: The sentences that a finder may see; none of them may be in `texts`.
        how: Arguments of `steer` (operator, strength, positions), or a function from a label to these: what
            `calibrate` returns, with `labels=calibration.labels`. In a given text every token is prompt.
        pairs: Held-out parallel sentences for alignment; both sides are steered.
        labels: Steer with these labels only.
        samples: Continuations per seed and steering.
        **options: `seeds` (5), how often a finder is run and continuations are sampled; with units given,
            everything else is observed once. `random_sets` (5) per label and `shuffles` (1), the controls of
            each seed; `metrics` of alignment; `prompt`, `generation` and `identify` of the continuations;
            `token_budget` (8192); `first_seed` (0). See `xalign.judging.options`.

    Returns:
        Effects and controls with intervals.

    Raises:
        ArgumentError: A label without texts, or a finder without `finding` or whose `finding` shares
            sentences with held-out texts.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = find_units(model, tokenizer, texts, share=0.1)
        >>> unseen = {"eng_Latn": ["Come in.", "Sit down."], "deu_Latn": ["Komm herein.", "Setz dich."]}
        >>> result = evaluate(model, tokenizer, units, unseen, how={"operator": "zero"})
        >>> row = result.effect("deu_Latn", "loss")
        >>> row["low"] <= row["difference"] <= row["high"]
        True
    """
    check_texts(texts)
    settings = _settings(samples=samples, **options)
    if pairs is not None and not isinstance(pairs, ParallelPairs):
        raise ArgumentTypeError(f"pairs={pairs!r:.60} must be ParallelPairs: load_pairs gives them")
    arms = Arms(model, tokenizer, what, finding, settings)
    arms.check_held_out(texts, pairs)
    return Comparison(model, tokenizer, texts, pairs, how, labels, settings).run(arms)


def _settings(samples: int, **options: Any) -> EvaluateOptions:
    known_options("evaluate", options, [*EvaluateArguments.__annotations__, "samples"])
    return EvaluateOptions(samples=samples, **options)
