"""What the small configs of the zoo need beyond small sizes, each with its reason."""

from typing import Any

LEAVE_OUT: Any = object()  # keeps the default of the class

# Model type of a config or sub-config -> its fields.
CONFIGS: dict[str, dict[str, Any]] = {}
