"""Blocks of models that xalign has no layout for, where transformers itself says which modules they are."""

from typing import Any

from torch import nn

from xalign.model.architectures.table import Layout


def declared_blocks(model: nn.Module) -> dict[nn.Module, tuple[str, Layout]]:
    """Find the stacks of blocks whose outputs transformers returns as hidden states.

    A class of transformers declares in `can_record_outputs` which of its modules give the hidden states.
    Where these are the members of one list, as many as the config has layers, the list is the stack of
    blocks. The model around it returns the final state. Nothing is known of what is inside a block.

    Returns:
        Model inside `model` -> its path, and a layout with the blocks alone.
    """
    found: dict[nn.Module, tuple[str, Layout]] = {}
    for path, holder in model.named_modules():
        blocks = _blocks_path(holder) if _declares(holder) else None
        if blocks is not None:
            found[holder] = path, Layout(blocks=blocks, final=("",))
    return found


def _declares(module: nn.Module) -> bool:
    # Of the class: a PeftModel passes names that it does not have on to the model inside it.
    return hasattr(type(module), "can_record_outputs")


def _blocks_path(holder: Any) -> str | None:
    """Return the path of the one list of all modules that are declared to give hidden states."""
    classes = _declared_classes(holder)
    config = holder.config
    width, depth = getattr(config, "hidden_size", None), getattr(config, "num_hidden_layers", None)
    if not classes or not isinstance(width, int) or not isinstance(depth, int):
        return None
    modules = dict(holder.named_modules())
    inner = [path for path, one in modules.items() if path and _declares(one)]

    def is_own(path: str) -> bool:
        return not any(path == one or path.startswith(f"{one}.") for one in inner)

    blocks = {path for path, one in modules.items() if is_own(path) and isinstance(one, classes)}
    lists = [
        path
        for path, one in modules.items()
        if isinstance(one, nn.ModuleList) and blocks == {f"{path}.{name}" for name in one._modules}
    ]
    return lists[0] if len(lists) == 1 and len(blocks) == depth > 0 else None


def _declared_classes(holder: Any) -> tuple[type[nn.Module], ...]:
    """Return the classes of the modules that give hidden states; none where more than a class says which."""
    declared = holder.can_record_outputs.get("hidden_states")
    classes = []
    for one in declared if isinstance(declared, list) else [declared]:
        recorded = getattr(one, "target_class", one)
        if not isinstance(recorded, type) or getattr(one, "index", None) or getattr(one, "layer_name", None):
            return ()
        classes.append(recorded)
    return tuple(classes)
