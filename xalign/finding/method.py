"""`Method`: a way to find units, with everything that others must know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature

from xalign.checks import function_of
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import activations
from xalign.units.unit_set import UnitSet

Find = Callable[..., UnitSet]
"""(model, tokenizer, texts, **options) -> units."""

_INPUTS = ("model", "tokenizer", "texts")


@dataclass(frozen=True, slots=True)
class Method:
    """A way to find units: a function and its properties. One line in `METHODS` makes it known by name.

    Attributes:
        name: What users type.
        fn: The function: (model, tokenizer, texts, **options) -> `UnitSet`, where texts maps labels to
            sentences. Its `**options`, if it has them, are options of `activations`.
        summary: One line for help texts: what it finds.
        sets: Options of `activations` that the method decides itself, so that users cannot give them. None if
            nothing is known of its `**options`: then it takes any.

    Raises:
        ArgumentError: A name that is not a word.
        ArgumentTypeError: `fn` is not callable.

    Example:
        >>> from xalign.finding import METHODS
        >>> METHODS["expert_ap"].takes("sites"), METHODS["lape"].takes("sites")
        (True, False)
    """

    name: str
    fn: Find
    summary: str = ""
    sets: tuple[str, ...] | None = ()

    def __post_init__(self) -> None:
        """Refuse a method that cannot be called by its name."""
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ArgumentError(f"name={self.name!r:.60} must be a word of letters, digits and _")
        if not callable(self.fn) or isinstance(self.fn, type):
            raise ArgumentTypeError(
                f"fn={self.fn!r:.60} must be a function (model, tokenizer, texts, **options) -> UnitSet"
            )
        function_of(f"the function of method {self.name}", self.fn, *_INPUTS, more=True)

    @property
    def options(self) -> list[str]:
        """The options that are known to be taken, in alphabetical order."""
        own, takes_more = _options_of(self.fn)
        if takes_more and self.sets is not None:
            own |= _options_of(activations)[0] - set(self.sets)
        return sorted(own)

    def takes(self, option: str) -> bool:
        """Return whether it takes an option."""
        takes_any = self.sets is None and _options_of(self.fn)[1]
        return takes_any or option in self.options


def resolve_method(method: object, known: Mapping[str, Method]) -> Method:
    """Return the method meant by a name, a `Method` or a plain function.

    A plain function is named after itself. It takes the options of its signature, and any if it has
    `**options`.

    Args:
        method: The name, the object or the function.
        known: Name -> method.

    Raises:
        ArgumentError: A name that is not known, or something that is not a method.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, str) and method in known:
        return known[method]
    if not callable(method) or isinstance(method, type):
        raise ArgumentError(
            f"method={method!r:.60} must be one of {', '.join(known)}, a Method, or a function (model, "
            "tokenizer, texts, **options) -> UnitSet"
        )
    name = getattr(method, "__name__", type(method).__name__)
    return Method(name if name.isidentifier() else "function", method, sets=None)


def _options_of(fn: Callable[..., object]) -> tuple[set[str], bool]:
    """Return the names of a function's options, and whether it takes others beside them."""
    parameters = signature(fn).parameters.values()
    by_name = {one.name for one in parameters if one.kind is Parameter.KEYWORD_ONLY}
    by_place = [one.name for one in parameters if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
    takes_more = any(one.kind is Parameter.VAR_KEYWORD for one in parameters)
    return by_name | set(by_place[len(_INPUTS) :]), takes_more
