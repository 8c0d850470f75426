"""`Loss`: a function that pulls translations together, with everything that training must know of it."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses.direction import LOWEST_TEMPERATURE

Kind = Literal["hidden", "gate", "inner", "attn_out", "mlp_out"]
Pool = Literal["weighted", "last", "mean", "max", "first"]
Level = Literal["pair", "token", "word"]
LossFn = Callable[..., Tensor]
StateFn = Callable[[Tensor], Tensor]
KINDS: tuple[Kind, ...] = get_args(Kind)
OPTIONS = ("temperature", "direction", "languages", "same", "detach_pivot", "gather")
"""The arguments that training offers every loss; a loss gets those that its function names."""
MASKS = ("language_mask", "pivot_mask")
"""Further arguments for a loss of tokens or words."""
LINKS = ("links",)
"""Further arguments for a loss of words."""
START = ("start",)
"""The argument for a loss that needs the pivot's states before training."""
_OF_LEVEL: dict[Level, tuple[str, ...]] = {"pair": (), "token": MASKS, "word": MASKS + LINKS}


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss: the function that computes it, and its properties. One line in `LOSSES` makes it known by name.

    Attributes:
        name: What users type, and what errors call it.
        fn: The function of both sides; row i of one translates row i of the other. It returns one number, a
            tensor without dimensions. Any of these keyword arguments that it names is given to it:
            `temperature`, `direction`, `languages`, `same`, `detach_pivot` and `gather`, all as in
            `contrastive`; `languages` is None with `centre=False`, and `same` with `mask_duplicates=False`.
            So is `start`: the pivot's states before training, in the shape of its states now, which costs one
            more forward pass. Other arguments need defaults.
        kinds: The kinds of sites that it may read; the first is the default.
        state: Function applied to a token's values before pooling, from a tensor to one of the same shape.
        pool: How a sentence's tokens are pooled by default; unused by token losses.
        temperature: The default temperature. If None, the default of the function's own argument
            `temperature`; it stays None if the function has no such argument.
        needs_negatives: Whether each pair is compared with the others of its batch. If so, one pair alone
            has no loss.
        level: What the two sides are. `"pair"`: pooled states, [pair, width]. `"token"`: the states of all
            tokens, [pair, token, width], zero at tokens that do not count, together with the boolean masks
            `language_mask` and `pivot_mask`, [pair, token], True at tokens that count. `"word"`: the same for
            words, each the mean of its tokens, together with `links`, a row (pair, word, pivot word) for each
            two that translate each other.
        needs_shares: Whether its states must lie in [0, 1], so that no transform can come before it.

    Raises:
        ArgumentError: A value that is not allowed, or a function that cannot be called with what it is given.
        ArgumentTypeError: A value of a type that is not allowed.

    Example:
        >>> def distance(language, pivot):
        ...     return (language - pivot).square().mean()
        >>> loss = Loss("distance", distance, kinds=("inner", "gate"), pool="last")
        >>> loss.options, loss.temperature
        ((), None)
    """

    name: str
    fn: LossFn
    kinds: tuple[Kind, ...] = KINDS
    state: StateFn = Tensor.float
    pool: Pool = "mean"
    temperature: float | None = None
    needs_negatives: bool = False
    level: Level = "pair"
    needs_shares: bool = False

    def __post_init__(self) -> None:
        """Refuse a loss that cannot be trained with."""
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"name={self.name!r:.60} must be a name, like 'contrastive'")
        _check_callable(self.name, "fn", self.fn)
        _check_callable(self.name, "state", self.state)
        kinds: object = self.kinds
        if not isinstance(kinds, tuple | list) or not kinds or any(kind not in KINDS for kind in kinds):
            raise ArgumentError(
                f"loss {self.name!r}: kinds={kinds!r:.60} must be a tuple of some of {', '.join(KINDS)}"
            )
        object.__setattr__(self, "kinds", tuple(kinds))
        for name, allowed in (("pool", get_args(Pool)), ("level", get_args(Level))):
            if getattr(self, name) not in allowed:
                raise ArgumentError(
                    f"loss {self.name!r}: {name}={getattr(self, name)!r:.60} must be one of "
                    f"{', '.join(allowed)}"
                )
        self._check_signature()
        object.__setattr__(self, "temperature", self._default_temperature())

    @property
    def options(self) -> tuple[str, ...]:
        """The keyword arguments that `fn` names, of those that training can give."""
        offered = OPTIONS + START + _OF_LEVEL[self.level]
        named = _arguments(self.fn)
        return tuple(option for option in offered if option in named)

    @property
    def needs_links(self) -> bool:
        """Whether it compares words, so that it must be told which of them translate each other."""
        return self.level == "word"

    @property
    def needs_start(self) -> bool:
        """Whether it needs the pivot's states before training."""
        return bool(set(START) & set(self.options))

    def _check_signature(self) -> None:
        missing = [name for name in _OF_LEVEL[self.level] if name not in self.options]
        if missing:
            raise ArgumentError(
                f"loss {self.name!r}: a function of {self.level}s must take "
                f"{' and '.join(_OF_LEVEL[self.level])}, where masks tell {self.level}s that count from "
                f"padding; it lacks {', '.join(missing)}"
            )
        signature = _signature(self.fn)
        if signature is None:
            return
        try:
            signature.bind(None, None, **dict.fromkeys(self.options))
        except TypeError as error:
            raise ArgumentError(
                f"loss {self.name!r} must be callable as fn(language, pivot): {error}. Of keyword arguments "
                f"it gets those of {', '.join(OPTIONS + START)} that it names (and, with level='token', "
                f"{' and '.join(MASKS)}); give every other one a default"
            ) from None

    def _default_temperature(self) -> float | None:
        """Return the temperature given, or the default of the function's own argument."""
        argument = _arguments(self.fn).get("temperature")
        if argument is None:
            if self.temperature is not None:
                raise ArgumentError(
                    f"loss {self.name!r}: temperature={self.temperature!r:.60} is given, and its function "
                    "has no argument temperature; leave it out, or add the argument"
                )
            return None
        value = argument.default if self.temperature is None else self.temperature
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not LOWEST_TEMPERATURE <= value < math.inf:
            raise ArgumentError(
                f"loss {self.name!r} needs a default temperature above 0, at least {LOWEST_TEMPERATURE:g}: "
                "give Loss(temperature=...), or give the argument temperature of its function a number as "
                "default"
            )
        return float(value)


def resolve_loss(given: object, known: Mapping[str, Loss]) -> Loss:
    """Return the loss meant by a name, a `Loss` object or a plain function.

    A plain function is called with the two sides, as `Loss` says, and named after itself. It may read every
    kind of site, `"hidden"` by default, and its tokens are pooled by their mean. It is a token loss where it
    names `language_mask` and `pivot_mask`, and a word loss where it names `links` too.

    Args:
        given: The name, the object or the function.
        known: Name -> loss.

    Raises:
        ArgumentError: An unknown name, or a function that cannot be called with what it is given.
        ArgumentTypeError: Not a name, a loss or a function. For a class, pass an instance of it.

    Example:
        >>> from xalign.losses import LOSSES
        >>> resolve_loss("cosine", LOSSES).kinds[0]
        'hidden'
        >>> resolve_loss(lambda language, pivot: (language - pivot).abs().mean(), LOSSES).pool
        'mean'
    """
    if isinstance(given, Loss):
        return given
    own = "a Loss or a function (language, pivot) -> loss of your own"
    if isinstance(given, str):
        if given not in known:
            raise ArgumentError(f"loss={given!r} must be one of {', '.join(known)}, or {own}")
        return known[given]
    if not callable(given) or isinstance(given, type):
        raise ArgumentTypeError(f"loss={given!r:.60} must be one of {', '.join(known)}, or {own}")
    name = getattr(given, "__name__", type(given).__name__)
    named = set(_arguments(given))
    level = next(level for level in reversed(get_args(Level)) if set(_OF_LEVEL[level]) <= named)
    return Loss(name, given, level=level)


def _check_callable(loss: str, name: str, value: object) -> None:
    if not callable(value) or isinstance(value, type):
        raise ArgumentTypeError(f"loss {loss!r}: {name}={value!r:.60} must be a function of tensors")


def _signature(fn: LossFn) -> inspect.Signature | None:
    """Return the signature of a function or of a module's forward; None for built-ins without one."""
    try:
        return inspect.signature(fn.forward if isinstance(fn, nn.Module) else fn)
    except (TypeError, ValueError):
        return None


def _arguments(fn: LossFn) -> dict[str, inspect.Parameter]:
    """Return the arguments that can be given by name, without the two sides."""
    signature = _signature(fn)
    parameters = [] if signature is None else list(signature.parameters.values())
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    sides = {one.name for one in positional[:2]}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name: one for one in parameters if one.kind in by_name and one.name not in sides}
