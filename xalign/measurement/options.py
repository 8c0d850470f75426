"""The options of `measure`: each is defined once, with its default and its check."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, Literal, TypedDict, cast, get_args

from xalign.checks import boolean, function_of, known_options, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.sites import POOLS, Pool
from xalign.model.encode import Template
from xalign.model.inputs import TextOptions
from xalign.options import COMPARED, CONTINUED, option
from xalign.renamed import with_new_names
from xalign.units.language_vector import LanguageVector

NeuronSite = Literal["gate", "inner"]
Experts = Literal["routed", "shared"]
Steered = Callable[[str], AbstractContextManager[Any]]
Subtract = Mapping[str, LanguageVector | Sequence[LanguageVector]]

# Options under their names of 0.1.0.
_RENAMED = {"nas": "state_site", "nav": "value_site"}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What is read in a model while it runs over the sentences.

    Attributes:
        pool: How states are pooled over a sentence's tokens: `"weighted"`, `"last"`, `"mean"`,
            `"max"` or `"first"`.
        state_site: Where neuron states are read: `"gate"`, before the activation function, or `"inner"`.
        value_site: Where neuron values are read: `"inner"`, the input of the down projection, or `"gate"`.
        experts: Which neurons neuron metrics read in a mixture of experts: `"routed"`, those of all its
            experts, with 0 for tokens that are not routed there, or `"shared"`, those of the networks that
            every token runs through. In a block without a mixture, its one network is read.
        include_embedding: Whether metrics of hidden states take the embedding too.
        stack: Which stack of blocks is read, of those in `map_model(model).stacks`; the first where empty,
            which is the encoder of an encoder–decoder. Only the encoder runs then. `"decoder"` reads the
            decoder of an encoder–decoder while it is given the sentence itself: behind its start token, the
            sentence's tokens are its inputs, and the encoder is given the whole sentence. What is pooled are
            the states at the positions whose input is a token of the sentence; special tokens never are.
        token_budget: The largest number of tokens in one forward pass, padding included.
        subtract: Language, including the pivot -> vectors to subtract from what is read for it (see
            `language_means`).
        steered: A function from a language (including the pivot) to the context manager in which its
            sentences run, like `lambda code: steer(model, units[code])`.

    Raises:
        ArgumentError: A pool or site that does not exist, or a budget below 1.
        ArgumentTypeError: `steered` is not a function.
    """

    pool: Pool = option("weighted")
    state_site: NeuronSite = option("gate")
    value_site: NeuronSite = option("inner")
    experts: Experts = option("routed")
    include_embedding: bool = option(True)
    stack: str = option("", must_agree=COMPARED)
    token_budget: int = option(4096)
    subtract: Subtract | None = option(None, must_agree=CONTINUED, hashed=False)
    steered: Steered | None = option(None, must_agree=CONTINUED, hashed=False)

    def __post_init__(self) -> None:
        """Check everything that can be checked without a model."""
        if self.pool not in POOLS:
            raise ArgumentError(f"pool={self.pool!r} must be one of {', '.join(POOLS)}")
        for name in ("state_site", "value_site"):
            if getattr(self, name) not in get_args(NeuronSite):
                raise ArgumentError(f"{name}={getattr(self, name)!r} must be 'gate' or 'inner'")
        if self.experts not in get_args(Experts):
            raise ArgumentError(f"experts={self.experts!r} must be 'routed' or 'shared'")
        boolean("include_embedding", self.include_embedding)
        if not isinstance(self.stack, str):
            raise ArgumentTypeError(
                f"stack={self.stack!r:.60} must be the name of a stack, like 'encoder' or 'decoder', or empty"
            )
        object.__setattr__(self, "token_budget", whole_number("token_budget", self.token_budget, least=1))
        if self.steered is not None and (not callable(self.steered) or hasattr(self.steered, "__enter__")):
            raise ArgumentTypeError(
                f"steered={self.steered!r:.60} must be a function from a language to a context, like "
                "lambda code: steer(model, units[code])"
            )
        if self.steered is not None:
            function_of("steered", self.steered, "language")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of one run of a measurement that change no score.

    Attributes:
        seed: Seeds the intervals.
        revision: The revision of the model, to note in the provenance.
        progress: Show a progress bar.

    Raises:
        ArgumentError: A negative seed.
        ArgumentTypeError: A revision that is not text.
    """

    seed: int = option(0)
    revision: str | None = option(None)
    progress: bool = option(False)

    def __post_init__(self) -> None:
        """Check types."""
        object.__setattr__(self, "seed", whole_number("seed", self.seed))
        if self.revision is not None and not isinstance(self.revision, str):
            raise ArgumentTypeError(f"revision={self.revision!r:.60} must be text, or None")
        boolean("progress", self.progress)


class MeasureOptions(TypedDict, total=False):
    """The same options for editors and type checkers: the keyword arguments of `measure` and the monitor."""

    template: Template | None
    template_pooled: bool
    pool_special_tokens: bool
    truncate: bool
    max_length: int | None
    source_codes: Mapping[str, str] | None
    pool: Pool
    state_site: NeuronSite
    value_site: NeuronSite
    experts: Experts
    include_embedding: bool
    stack: str
    token_budget: int
    subtract: Subtract | None
    steered: Steered | None
    seed: int
    revision: str | None
    progress: bool


def check_options(function: Callable[..., Any], given: Iterable[str]) -> None:
    """Raise an error if a function or class is given an option that it does not have.

    Args:
        function: What the user calls. It takes the options of `measure` as well as its own arguments.
        given: The names of the options that it was given.

    Raises:
        ArgumentTypeError: An option that it does not have; the nearest one is named.
    """
    named = (one.name for one in signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD)
    of_measure = (one.name for cls in (TextOptions, ReadOptions, RunOptions) for one in fields(cls))
    known_options(function.__name__, set(given) - _RENAMED.keys(), {*named, *of_measure})


def split_options(options: Mapping[str, Any]) -> tuple[TextOptions, ReadOptions, RunOptions]:
    """Sort keyword arguments into the options classes that have them.

    Raises:
        ArgumentTypeError: An option that none of them has.
    """
    given = with_new_names(options, _RENAMED)
    known = {cls: {one.name for one in fields(cls)} for cls in (TextOptions, ReadOptions, RunOptions)}
    known_options("measure", given, set().union(*known.values()))
    return cast(
        tuple[TextOptions, ReadOptions, RunOptions],
        tuple(cls(**{name: given[name] for name in names & given.keys()}) for cls, names in known.items()),
    )
