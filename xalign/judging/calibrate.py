"""`calibrate`: how hard to push, and where, so that the output changes language and is still language."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging.evaluate import Steering, labels_of
from xalign.judging.identify import Identify, check_known, identify_language
from xalign.judging.probe import Probe
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.operators import OperatorLike as Operator
from xalign.model.positions import Positions
from xalign.steering.steer import steer

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to steer that was tried.

    Attributes:
        label: Towards what.
        positions: At which tokens.
        strength: How hard.
        share: Of what the model said, how much is in the label's language.
        before: The same share without steering.
        rise: By how much what it said costs the unedited model more than natural text, in nats per token.
    """

    label: str
    positions: Positions
    strength: float
    share: float
    before: float
    rise: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was tried, and per label what was chosen; called with a label it gives the arguments of `steer`.

    Attributes:
        operator: The operator of all trials.
        tried: All trials.
        chosen: Label -> the trial with the highest share whose output stays within the bound, or None where
            there is none that raises the share.
        max_rise: The bound on what the output may cost the unedited model above natural text.
    """

    operator: Operator
    tried: tuple[Trial, ...]
    chosen: Mapping[str, Trial | None]
    max_rise: float

    def __call__(self, label: str) -> dict[str, Any]:
        """Operator, strength and positions chosen for a label, for `steer` and for `evaluate(how=)`.

        Raises:
            ArgumentError: A label that was not calibrated, or for which nothing tried stayed in bounds.
        """
        if label not in self.chosen:
            raise ArgumentError(f"label={label!r} was not calibrated; there is {', '.join(self.chosen)}")
        trial = self.chosen[label]
        if trial is None:
            tried = [one for one in self.tried if one.label == label]
            rising = [one for one in tried if one.share > one.before]
            if not rising:
                raise ArgumentError(
                    f"nothing tried raises the share of {label} above {tried[0].before:.2f}, what it is "
                    "without: try greater strengths, other positions, other units, or more samples"
                )
            least = min(rising, key=lambda one: one.rise)
            raise ArgumentError(
                f"nothing tried for {label} raises its share within {self.max_rise} nats of natural text; "
                f"the nearest, strength {least.strength} at {least.positions}, costs {least.rise:+.2f}: try "
                "smaller strengths, other positions, or a larger max_rise"
            )
        return {"operator": self.operator, "strength": trial.strength, "positions": trial.positions}

    @property
    def labels(self) -> list[str]:
        """The labels for which there is a choice, as `evaluate(labels=)` takes them."""
        return [label for label, trial in self.chosen.items() if trial is not None]

    def to_rows(self) -> list[dict[str, Any]]:
        """A dict per trial, with `chosen` beside its attributes."""
        return [asdict(one) | {"chosen": one is self.chosen[one.label]} for one in self.tried]

    def table(self) -> "Table":
        """The trials as a rich table, the chosen ones marked."""
        from rich.table import Table

        table = Table(
            "steered", "positions", "strength", "share", "before", "loss over natural", "", box=None
        )
        for row in self.to_rows():
            table.add_row(
                row["label"],
                str(row["positions"]),
                f"{row['strength']:g}",
                f"{row['share']:.2f}",
                f"{row['before']:.2f}",
                f"{row['rise']:+.2f}",
                "chosen" if row["chosen"] else "",
            )
        return table


@takes_layout
def calibrate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    what: Steering,
    texts: Mapping[str, Sequence[str]],
    *,
    operator: Operator | None = None,
    strengths: Sequence[float] = (1, 2, 4, 8, 16),
    positions: Sequence[Positions] = ("prompt", "all"),
    max_rise: float = 0.2,
    samples: int = 100,
    seed: int = 1000,
    prompt: str = "",
    generation: Mapping[str, Any] | None = None,
    identify: Identify = identify_language,
    token_budget: int = 8192,
) -> Calibration:
    """Tries strengths and positions, and chooses per label what changes the language and leaves it language.

    Units set hard at every token give the language and ruin it; set at the prompt only and then left alone,
    the model goes on by itself. Which is best differs from set to set, so it is tried.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        what: Units, or language -> vector.
        texts: Language -> natural sentences, to know what they cost the unedited model.
        operator: As in `steer`.
        strengths: To be tried.
        positions: To be tried.
        max_rise: Only what the unedited model finds at most so many nats per token worse than natural text.
        samples: Continuations per trial.
        seed: Of sampling; judge with others (`evaluate` begins at 0).
        prompt: As in `evaluate`.
        generation: As in `sample`.
        identify: From text to language.
        token_budget: The most tokens of one forward, padding included.

    Returns:
        All trials, and the best of each label.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = find_units(model, tokenizer, texts, share=0.1)
        >>> calibration = calibrate(model, tokenizer, units, texts, strengths=[1, 4], samples=3, max_rise=9)
        >>> len(calibration.tried)
        8
    """
    if isinstance(positions, str):
        raise ArgumentTypeError(f"positions={positions!r} must be a list, like [{positions!r}]")
    if not isinstance(strengths, Sequence):
        raise ArgumentTypeError(f"strengths={strengths!r:.60} must be a list of numbers, like [1, 4]")
    if not strengths or not positions:
        raise ArgumentError("strengths and positions must each hold something to try")
    samples = whole_number("samples", samples, least=1)
    check_known(identify, labels_of(what))
    tried: list[Trial] = []
    operator = operator or ("set" if not isinstance(what, Mapping) else "add")
    probe = Probe(
        model,
        tokenizer,
        texts,
        samples=samples,
        prompt=prompt,
        generation=generation,
        identify=identify,
        token_budget=token_budget,
    )
    usual = probe.usual_output(seed)
    for label in labels_of(what):
        if label not in texts:
            raise ArgumentError(f"texts has no {label!r}, which is steered; it has {', '.join(texts)}")
        share, cost = (float(usual[quantity, label].mean()) for quantity in ("output_share", "output_loss"))
        for where in positions:
            for strength in strengths:
                with steer(model, what[label], operator=operator, strength=strength, positions=where):
                    said = probe.speak(seed)
                output = probe.output(said, label)
                after, lost = (float(output[name, label].mean()) for name in ("output_share", "output_loss"))
                tried.append(Trial(label, where, strength, after, share, lost - cost))
    chosen = {
        label: max(
            (one for one in tried if one.label == label and one.rise <= max_rise and one.share > one.before),
            key=lambda one: one.share,
            default=None,
        )
        for label in labels_of(what)
    }
    return Calibration(operator, tuple(tried), chosen, max_rise)
