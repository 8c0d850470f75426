"""`stack_of_layout`: the places of a model as a `Layout` says they are."""

from torch import nn

from xalign.errors import ModelError
from xalign.model.architectures.kinds_of_module import is_linear, widths_of
from xalign.model.architectures.places import Activation, BlockPlaces, Place, StackPlaces
from xalign.model.architectures.table import Layout, submodule_or_none

_PARTS = ("gate", "act", "down", "attn_out", "mlp_out")


def stack_of_layout(holder: nn.Module, prefix: str, model_type: str, layout: Layout) -> StackPlaces:
    """Return the places of a stack of blocks.

    Args:
        holder: The module that the paths of the layout start at.
        prefix: Its path.
        model_type: The architecture's name, for errors.
        layout: The paths.

    Raises:
        ModelError: A block has no module where the layout says, or their widths do not fit each other.
    """
    return _Stack(holder, prefix, model_type, layout).places()


class _Stack:
    def __init__(self, holder: nn.Module, prefix: str, model_type: str, layout: Layout) -> None:
        self._holder, self._prefix, self._type, self._layout = holder, prefix, model_type, layout
        self._blocks = list(holder.get_submodule(layout.blocks).children())
        self._knows_parts = any(getattr(layout, name) for name in _PARTS)
        self._ffn_width, self._width = self._widths()

    def places(self) -> StackPlaces:
        blocks = tuple(self._block(number) for number in range(len(self._blocks)))
        embed = Place(self._blocks[0], blocks[0].path, "input", self._width)
        return StackPlaces("", blocks, embed, self._final(blocks[-1]), self._width)

    def _widths(self) -> tuple[int, int]:
        """Check the parts of every block, and return the widths of its neurons and of the residual stream."""
        layout = self._layout
        if not self._knows_parts:
            return 0, _hidden_size(self._holder)
        for number in range(len(self._blocks)):
            self._check(number)
        ffn_width, width = widths_of(self._part(0, "down"))
        gate_width = widths_of(self._part(0, "gate"))[1] // (2 if layout.fused else 1)
        if gate_width != ffn_width:
            raise ModelError(
                f"{self._type}: the gate gives {gate_width} values where the down projection takes "
                f"{ffn_width}; check layout.gate, layout.down and layout.fused"
            )
        return ffn_width, width

    def _check(self, number: int) -> None:
        for name in _PARTS:
            try:
                if not getattr(self._layout, name):
                    raise AttributeError
                self._part(number, name)
            except AttributeError:
                raise ModelError(
                    f"{self._type}: block {number} has no module {getattr(self._layout, name)!r}; call "
                    f"register_layout({self._type!r}, Layout(..., {name}='path in the block'))"
                ) from None

    def _part(self, number: int, name: str) -> nn.Module:
        return self._blocks[number].get_submodule(getattr(self._layout, name))

    def _block(self, number: int) -> BlockPlaces:
        block = self._blocks[number]
        path = _joined(self._prefix, f"{self._layout.blocks}.{number}")
        places: dict[str, tuple[Place, ...]] = {"hidden": (Place(block, path, "output", self._width),)}
        if not self._knows_parts:
            reason = f"of {self._type} only the blocks are known, so only hidden states can be read"
            return BlockPlaces(block, path, places, refused=dict.fromkeys(_KINDS, reason))
        down, gate, act = (self._part(number, name) for name in ("down", "gate", "act"))
        paths = {name: f"{path}.{getattr(self._layout, name)}" for name in _PARTS}
        rows = "rows" if self._layout.flattened else "batch token width"
        half = slice(0, self._ffn_width) if self._layout.fused else None
        places["gate"] = (
            Place(gate, paths["gate"], "output", widths_of(gate)[1] // (2 if half else 1), half, rows),  # type: ignore[arg-type]
        )
        places["inner"] = (Place(down, paths["down"], "input", widths_of(down)[0], axes=rows),)  # type: ignore[arg-type]
        for name in ("attn_out", "mlp_out"):
            module = self._part(number, name)
            axes = rows if paths[name] == paths["down"] else "batch token width"
            places[name] = (Place(module, paths[name], "output", self._width, axes=axes),)  # type: ignore[arg-type]
        return BlockPlaces(block, path, places, (Activation(act, act, type(act).__name__),))

    def _final(self, last: BlockPlaces) -> Place:
        for path in self._layout.final:
            module = submodule_or_none(self._holder, path)
            if module is not None:
                width = widths_of(module)[1] if is_linear(module) else self._width
                return Place(module, _joined(self._prefix, path), "output", width)
        return Place(last.module, last.path, "output", self._width)


_KINDS = ("gate", "inner", "attn_out", "mlp_out")


def _joined(prefix: str, inside: str) -> str:
    return ".".join(part for part in (prefix, inside) if part)


def _hidden_size(holder: nn.Module) -> int:
    """Return the width of the residual stream, as the config says."""
    config = getattr(holder, "config", None)
    width = getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise ModelError(
            f"{type(holder).__name__} has no config.hidden_size, so the width of its states is not known; "
            "register a layout with gate=, act=, down=, attn_out= and mlp_out= too"
        )
    return width
