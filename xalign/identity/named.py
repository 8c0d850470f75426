"""`Named`: a function that is told by a name of your choice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xalign.errors import ArgumentError, ArgumentTypeError


@dataclass(frozen=True, slots=True)
class Named:
    """A function that is told by its name, and not by its code and its bound values.

    Use it where a function holds something that cannot be told apart by its content, such as an open file or
    a second model. Two measurements with the same name are then taken for the same setting. Change the name
    whenever the function computes something else.

    Attributes:
        function: The function.
        name: Its name, without braces.

    Raises:
        ArgumentTypeError: `function` is not a function, or `name` is not text.
        ArgumentError: An empty name, or one with braces.

    Example:
        >>> from xalign.identity import record_of
        >>> doubled = Named(lambda text, language: 2 * text, name="twice the text")
        >>> doubled("ab", "deu_Latn"), record_of(doubled)
        ('abab', 'name:twice the text')
    """

    function: Callable[..., Any]
    name: str

    def __post_init__(self) -> None:
        """Check both."""
        if not callable(self.function) or isinstance(self.function, type):
            raise ArgumentTypeError(f"function={self.function!r:.60} must be a function")
        if not isinstance(self.name, str):
            raise ArgumentTypeError(f"name={self.name!r:.60} must be text")
        if not self.name.strip() or set("{}") & set(self.name):
            raise ArgumentError(
                f"name={self.name!r:.60} must be text without braces, like 'german, strength 2'"
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)
