"""What is claimed of a model, as plain data: where its sites are, and the equations that they fulfil.

A claim holds paths, numbers and programs, and nothing of the model that it was found in. `proof.py` tests it.
"""

from dataclasses import dataclass, field
from typing import Literal

from xalign.model.architectures.axes import Axes
from xalign.model.architectures.expert_claims import ExpertsClaim
from xalign.model.architectures.program import Program


@dataclass(frozen=True, slots=True)
class Spot:
    """A tensor that can be read: what a module is given first, or what it returns.

    Attributes:
        path: The module.
        side: Which of the two.
        width: Number of coordinates of each token.
        axes: How the states are laid out.
        columns: Which of the tensor's columns are meant; None for all.
        call: Which call of the module within one call of its block, from 0.
        calls: How often it is called there.
    """

    path: str
    side: Literal["input", "output"]
    width: int
    axes: Axes = "batch token width"
    columns: slice | None = None
    call: int = 0
    calls: int = 1


@dataclass(frozen=True, slots=True)
class NetworkClaim:
    """A feed-forward network.

    Attributes:
        inner: The neurons: what the down projection is given.
        down: What it gives.
        gate: What the activation function acts on; None where that is no single projection.
        others: The other projections that the neurons are computed from; all of them where there is no gate.
        activation: From the gate to the activated gate; None where there is no gate, or where it is not seen.
        combine: From the activated gate, or the gate as it is, and the others, to the neurons.
        activation_path: The module that is the activation function, if it is one.
        no_gate: Why there is no gate.
    """

    inner: Spot
    down: Spot
    gate: Spot | None
    others: tuple[Spot, ...]
    activation: Program | None
    combine: Program
    activation_path: str = ""
    no_gate: str = ""


@dataclass(frozen=True, slots=True)
class StreamClaim:
    """The residual stream of a block.

    Attributes:
        attn_out: What is added that was computed from several tokens.
        mlp_out: What is added that a feed-forward network or experts give.
        fold: From the input of the block, `attn_out` and `mlp_out`, to its output.
        factors: Path of a module -> what its output is multiplied by before it is added, where that is not 1.
    """

    attn_out: tuple[Spot, ...]
    mlp_out: tuple[Spot, ...]
    fold: Program
    factors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BlockClaim:
    """One call of a block.

    Attributes:
        path: The block.
        call: Which of its calls in a forward, from 0.
        hidden: Its output; None where it does not hold one row per token.
        networks: Its feed-forward networks, in the order of the forward.
        stream: Its residual stream, where it could be followed.
        experts: The calls of modules that hold the experts of a mixture.
        refused: Kind -> why it has no such site.
    """

    path: str
    call: int
    hidden: Spot | None
    networks: tuple[NetworkClaim, ...] = ()
    stream: StreamClaim | None = None
    experts: tuple[ExpertsClaim, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StackClaim:
    """The blocks of one list of modules, in the order in which they run.

    Attributes:
        path: The list.
        blocks: Its blocks.
        final: The final state: the output of the last block, or of what comes after it.
        holder: The path of the model that holds the stack and no other.
    """

    path: str
    blocks: tuple[BlockClaim, ...]
    final: Spot | None
    holder: str
