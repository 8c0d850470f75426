"""What is claimed of the experts of a block, and why a block has none that can be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from xalign.model.architectures.graph import Call
from xalign.model.architectures.kinds_of_module import is_experts

NO_MIXTURE = "it has no mixture of experts"


@dataclass(frozen=True, slots=True)
class ExpertsClaim:
    """A module that holds the experts of a mixture.

    Attributes:
        path: The module.
        count: How many experts it holds.
        width: The number of neurons of each.
        calls: How often it is called in one call of its block.
        call: Which of these this is, from 0.
    """

    path: str
    count: int
    width: int
    calls: int = 1
    call: int = 0


def experts_in(calls: Sequence[Call]) -> tuple[ExpertsClaim, ...]:
    """Return what is claimed of the calls of experts in a block, in the order of the forward."""
    number: dict[str, int] = {}
    total = {call.path: sum(one.path == call.path for one in calls) for call in calls}
    claims = []
    for call in sorted(calls, key=lambda call: call.start):
        which = number.get(call.path, 0)
        number[call.path] = which + 1
        down = cast(Tensor, call.module.down_proj).shape
        width = down[-2 if call.module.is_transposed else -1]
        claims.append(ExpertsClaim(call.path, int(call.module.num_experts), width, total[call.path], which))  # type: ignore[arg-type]
    return tuple(claims)


def why_no_experts(block: nn.Module) -> str:
    """Return why the experts of a block cannot be read; empty where it has none."""
    for path, module in block.named_modules():
        name = path.rpartition(".")[2]
        if "expert" in name.lower() and not is_experts(module):
            return (
                f"{path} ({type(module).__name__}) is not behind the experts interface of transformers "
                "(use_experts_implementation), so which neurons run for which token is not known"
            )
    return ""
