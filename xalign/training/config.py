"""`AlignmentConfig`: every choice of an alignment loss, from Python, YAML or the command line."""

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

from xalign.checks import positive, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses.contrastive import DIRECTIONS
from xalign.model.architectures.sites import POOLS
from xalign.training.layers import parse_layers

KINDS = {"contrastive": "hidden", "cosine": "hidden", "neuron_state": "gate"}
"""Loss -> the kind of site it reads where none is named."""
DEFAULT_POOLS = {"contrastive": "mean", "cosine": "mean", "neuron_state": "weighted"}
DEFAULT_TEMPERATURES = {"contrastive": 0.05, "cosine": 0.05, "neuron_state": 0.1}


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class AlignmentConfig:
    """What an alignment loss pulls at, how hard, and with which pairs.

    Raises:
        ArgumentError: A value that is not allowed; the field is named.
        ArgumentTypeError: A value of a type that is not allowed.

    Example:
        >>> AlignmentConfig(pairs="bundled", loss="contrastive", layer=0.5).kind
        'hidden'
    """

    pairs: str | None = _option(None, "Training pairs: a path, or 'bundled'. Takes ParallelPairs too.")
    loss: str = _option("neuron_state", "'neuron_state', 'contrastive' or 'cosine'.")
    layer: str = _option(
        "all",
        "Where it pulls: a block ('8'), a share of the depth ('0.5'), several ('4,8'), several with relative "
        "weights ('4:.5,8:.5'), 'all', or 'auto' to measure on held-out pairs which is best.",
    )
    weight: float = _option(1.0, "Factor of the alignment loss; 0 switches it off.")
    batch_size: int = _option(32, "Pairs per micro-batch and process.")
    chunk_size: int | None = _option(
        None, "Runs the pairs so many at a time, with the gradient of the whole batch, to save memory."
    )
    temperature: float | None = _option(
        None, "Temperature of the contrastive losses, above 0; the loss's own where empty."
    )
    direction: str = _option("both", "Who picks whom: 'to_pivot', 'from_pivot' or 'both'.")
    kind: str | None = _option(
        None, "Kind of site: 'hidden', 'inner', 'attn_out', 'mlp_out' or 'gate'; the loss's own where empty."
    )
    pool: str | None = _option(
        None, "'mean', 'weighted', 'last' or 'max' over the tokens; the loss's own where empty."
    )
    centre: bool = _option(True, "Takes each language's mean over the batch away before comparing.")
    gather: bool = _option(False, "Negatives from all processes, not only from this one.")
    detach_pivot: bool = _option(False, "Leaves the pivot where it is: no gradient on its side.")
    mode: str = _option("joint", "'joint' adds the loss to the task's; 'alternate' takes turns with it.")
    alternate_every: int = _option(
        2,
        "In 'alternate' mode, every so many-th micro-batch is alignment alone, and what the task would have "
        "learnt from it is left out; 2 is every other one.",
    )
    replay: str | None = _option(
        None,
        "Text to keep speaking: a file with a document per line, whose language-modelling loss is added. "
        "Takes a list of texts too.",
    )
    replay_weight: float = _option(1.0, "Factor of the replay loss.")
    replay_batch_size: int = _option(8, "Replayed documents per micro-batch and process.")
    held_out: str | None = _option(
        None, "Pairs to measure on, refused where training pairs share a sentence. Takes ParallelPairs too."
    )
    languages: list[str] | None = _option(None, "Some of the languages of `pairs`; all where empty.")
    languages_per_batch: int | None = _option(
        None, "Languages in a micro-batch, drawn anew for each; where empty, as many as get 8 pairs each."
    )
    pivot: str = _option("eng_Latn", "The language all others are aligned with, where pairs is a path.")
    template: str | None = _option(None, "Text around each sentence, like 'query: {text}'.")
    template_pooled: bool = _option(False, "Pools the template's tokens too, not only the sentence's.")
    max_length: int | None = _option(
        None, "Cuts sentences to so many tokens; longer than the context is an error."
    )
    seed: int = _option(0, "Which pairs are drawn when; the trainer's own seed has no part in it.")

    def __post_init__(self) -> None:
        """Checks every field, and fills in what the loss decides."""
        if self.loss not in KINDS:
            raise ArgumentError(f"loss={self.loss!r} must be one of {', '.join(KINDS)}")
        parse_layers(self.layer)
        for name in ("weight", "replay_weight"):
            setattr(self, name, positive(name, getattr(self, name), zero=True))
        temperature = DEFAULT_TEMPERATURES[self.loss] if self.temperature is None else self.temperature
        self.temperature = positive("temperature", temperature)
        for name, least in (("batch_size", 1), ("alternate_every", 2), ("replay_batch_size", 1), ("seed", 0)):
            setattr(self, name, whole_number(name, getattr(self, name), least))
        # A sentence cut to one token is the beginning of any.
        for name, least in (("chunk_size", 1), ("languages_per_batch", 1), ("max_length", 2)):
            value = getattr(self, name)
            setattr(self, name, None if value is None else whole_number(name, value, least))
        if self.batch_size < 2 and self.loss != "cosine":
            raise ArgumentError(
                f"batch_size={self.batch_size}: {self.loss} tells each pair from the others of its batch, so "
                "it needs at least 2; loss='cosine' works on one"
            )
        for name, allowed in (("direction", DIRECTIONS), ("mode", ("joint", "alternate"))):
            if getattr(self, name) not in allowed:
                raise ArgumentError(f"{name}={getattr(self, name)!r} must be one of {', '.join(allowed)}")
        kinds = (
            ("gate",) if self.loss == "neuron_state" else ("hidden", "gate", "inner", "attn_out", "mlp_out")
        )
        self.kind = KINDS[self.loss] if self.kind is None else self.kind
        if self.kind not in kinds:
            raise ArgumentError(
                f"kind={self.kind!r} must be one of {', '.join(kinds)} for loss={self.loss!r}"
            )
        self.pool = DEFAULT_POOLS[self.loss] if self.pool is None else self.pool
        if self.pool not in POOLS:
            raise ArgumentError(f"pool={self.pool!r} must be one of {', '.join(POOLS)}")
        for name in ("centre", "gather", "detach_pivot", "template_pooled"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentTypeError(f"{name}={getattr(self, name)!r} must be true or false")
        if self.gather and self.loss == "cosine":
            raise ArgumentError("gather=True has no meaning for loss='cosine', which has no negatives")


def _config(self: Any) -> AlignmentConfig:
    """The `AlignmentConfig` that these arguments describe."""
    return AlignmentConfig(**{name: getattr(self, f"align_{name}") for name in _OPTIONS})


_OPTIONS = {option.name: option for option in fields(AlignmentConfig)}
AlignmentArguments: Any = make_dataclass(
    "AlignmentArguments",
    [
        (f"align_{name}", option.type, field(default=option.default, metadata=option.metadata))
        for name, option in _OPTIONS.items()
    ],
    namespace={"config": _config, "__module__": __name__},
)
AlignmentArguments.__doc__ = """The fields of `AlignmentConfig` with `align_` before each.

To parse beside a trainer's own arguments, which have a `seed` too, and GRPO's a `temperature`.

Example:
    >>> AlignmentArguments(align_loss="cosine", align_seed=3).config().seed
    3
"""
