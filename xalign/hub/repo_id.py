"""`check_repo_id`: the id of a model or a data set on the Hub."""

from xalign.errors import ArgumentError


def check_repo_id(argument: str, value: object, what: str) -> None:
    """Raise an error for what is no id with an owner.

    Args:
        argument: The name of the argument.
        value: What was given.
        what: What it must be, in words.

    Raises:
        ArgumentError: It is not text of the form `owner/name`.

    Example:
        >>> check_repo_id("repo_id", "me/my-model", "the id of a model")
    """
    parts = value.split("/") if isinstance(value, str) else []
    if len(parts) != 2 or not all(parts):
        raise ArgumentError(f"{argument}={value!r:.100} must be {what}, like 'owner/name'")
