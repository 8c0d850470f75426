"""The options of judging, each written once: what is sampled, and how often things are repeated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from xalign.checks import function_of, whole_number
from xalign.judging.identify import Identify, identify_language
from xalign.judging.sample import check_sampling
from xalign.measurement.run import Metrics
from xalign.metrics import METRICS
from xalign.metrics.metric import resolve_metrics


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What a model is asked to generate, and how it is judged.

    Attributes:
        samples: Continuations per seed.
        prompt: The text to continue; without any, a continuation starts from nothing.
        generation: Arguments of `generate`, as in `sample`.
        identify: Function from text to language; by default for the five bundled languages.
        token_budget: The most tokens in one forward pass, padding included.

    Raises:
        ArgumentError: A negative number of samples, or a budget below 1.
        ArgumentTypeError: An option of the wrong type.
    """

    samples: int = 0
    prompt: str = ""
    generation: Mapping[str, Any] | None = None
    identify: Identify = identify_language
    token_budget: int = 8192

    def __post_init__(self) -> None:
        """Check everything that can be checked without a model."""
        object.__setattr__(self, "samples", whole_number("samples", self.samples))
        object.__setattr__(self, "token_budget", whole_number("token_budget", self.token_budget, least=1))
        check_sampling(self.prompt, self.generation)
        function_of("identify", self.identify, "text")


@dataclass(frozen=True, slots=True)
class EvaluateOptions(OutputOptions):
    """How `evaluate` repeats what it judges, and which controls it adds.

    Attributes:
        seeds: How often a finder is run, and continuations are sampled.
        first_seed: Seeds count from here, so that they can differ from those that something was chosen on.
        random_sets: Controls of random units or directions, per seed and label.
        shuffles: Controls under shuffled labels, per seed.
        metrics: Metrics of alignment, as in `measure`.

    Raises:
        ArgumentError: No seed, or a negative number of controls.
    """

    seeds: int = 5
    first_seed: int = 0
    random_sets: int = 5
    shuffles: int = 1
    metrics: Metrics = ("nasca", "retrieval")

    def __post_init__(self) -> None:
        """Check everything that can be checked without a model."""
        object.__setattr__(self, "seeds", whole_number("seeds", self.seeds, least=1))
        OutputOptions.__post_init__(self)
        resolve_metrics(self.metrics, METRICS)
        for name in ("first_seed", "random_sets", "shuffles"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))


class OutputArguments(TypedDict, total=False):
    """The fields of `OutputOptions` other than `samples`, for editors and type checkers."""

    prompt: str
    generation: Mapping[str, Any] | None
    identify: Identify
    token_budget: int


class EvaluateArguments(OutputArguments, total=False):
    """The fields of `EvaluateOptions` other than `samples`, for editors and type checkers."""

    seeds: int
    first_seed: int
    random_sets: int
    shuffles: int
    metrics: Metrics
