"""`Transform`: what is done to the states of both sides before any loss compares them.

A transform uses its batch alone and keeps no state, so that a resumed run equals an unbroken one. Losses and
transforms know nothing of one another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from xalign.checks import function_of
from xalign.errors import ArgumentError, ArgumentTypeError

TransformFn = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Transform:
    """A transform: the function that computes it, and its properties.

    Attributes:
        name: What users type, and what errors call it.
        fn: The function (language, pivot, *, languages, language_mask=None, pivot_mask=None) -> both sides.
            The sides are what the loss would get: pooled states [pair, width] without masks; or the states of
            all tokens, [pair, token, width], with masks that are True at tokens that count. `languages` is a
            number per pair, equal within a language. What it returns has the same shapes.
        needs_groups: Whether it needs two pairs of each language in a batch.

    Raises:
        ArgumentTypeError: A name that is not text, or an `fn` that is not a function.

    Example:
        >>> def halved(language, pivot, **_):
        ...     return language / 2, pivot / 2
        >>> Transform("halved", halved).needs_groups
        False
    """

    name: str
    fn: TransformFn
    needs_groups: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be called."""
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"name={self.name!r:.60} must be a name, like 'subtract_means'")
        function_of("fn", self.fn, "language", "pivot", more=True)


def resolve_transform(given: object, known: Mapping[str, Transform]) -> Transform:
    """Return the transform meant by a name, a `Transform` object or a plain function.

    Args:
        given: The name, the object or the function.
        known: Name -> transform.

    Raises:
        ArgumentError: An unknown name.
        ArgumentTypeError: Not a name, a transform or a function.

    Example:
        >>> from xalign.losses import TRANSFORMS
        >>> resolve_transform("remove_subspace", TRANSFORMS).needs_groups
        False
    """
    if isinstance(given, Transform):
        return given
    if isinstance(given, str) and given in known:
        return known[given]
    own = "a Transform or a function (language, pivot, **options) -> both sides of your own"
    message = f"transform={given!r:.60} must be one of {', '.join(known)}, or {own}"
    if isinstance(given, str):
        raise ArgumentError(message)
    if not callable(given) or isinstance(given, type):
        raise ArgumentTypeError(message)
    return Transform(getattr(given, "__name__", type(given).__name__), given)
