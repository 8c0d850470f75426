"""`Snapshot`: what a model's modules keep beside their weights, noted and put back."""

from typing import Any

import torch
from torch import Tensor, nn

from xalign.model.hooks import hooks_of, remove_hooks

# What torch keeps on every module. Weights and submodules change hands within a forward where they are
# sharded or offloaded; hooks may be a user's, registered meanwhile.
_OF_TORCH = set(vars(nn.Module())) - {"_non_persistent_buffers_set"}
# Larger buffers are weights in fact, such as those of a quantised layer.
LARGEST_BUFFER = 2**24
_CONTAINERS = (dict, list, set)


class Snapshot:
    """Training modes, buffers, attributes and hooks of xalign on every module, as they are now.

    Models with dynamic RoPE replace buffers and attributes in a long forward, `generate` keeps caches on the
    model, and merged adapters are listed on their layers. What a module did not have is deleted, what it had
    is put back, and the values of buffers are copied back where they changed. Weights are not noted.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = list(model.modules())
        self._hooks = hooks_of(self._modules)
        self._training = [module.training for module in self._modules]
        self._objects = [Attributes(one) for one in (*self._modules, *_configs(self._modules))]
        self._buffers = [_Buffers(module) for module in self._modules if module._buffers]
        self._with_buffers = [Attributes(held.module) for held in self._buffers]

    @property
    def training(self) -> list[tuple[nn.Module, bool]]:
        """Each module with its mode."""
        return list(zip(self._modules, self._training, strict=True))

    def rewind(self) -> None:
        """Put back what a forward left on modules with buffers, so that the next one begins as it did."""
        for buffers in self._buffers:
            buffers.put_back()
        for attributes in self._with_buffers:
            attributes.put_back()

    def put_back(self) -> None:
        """Make the modules again what they were."""
        remove_hooks(self._modules, lambda hook: hook not in self._hooks)
        for module, training in self.training:
            module.training = training
        for buffers in self._buffers:
            buffers.put_back()
        for attributes in self._objects:
            attributes.put_back()


class Attributes:
    """The attributes of an object, and what is in those that are containers, as they are now.

    Args:
        owner: A module, of which weights, submodules, buffers and hooks are left out; or another object.
    """

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._values = {name: value for name, value in vars(owner).items() if name not in _OF_TORCH}
        self._contents = [
            (value, plain(value))
            for value in self._values.values()
            for plain in _CONTAINERS
            if isinstance(value, plain)
        ]

    def put_back(self) -> None:
        """Make the attributes again what they were."""
        now = vars(self._owner)
        for name in [name for name in now if name not in self._values and name not in _OF_TORCH]:
            del now[name]
        for name, value in self._values.items():
            if now.get(name, self) is not value:
                now[name] = value
        for container, content in self._contents:
            if not _same(container, content):
                container.clear()
                getattr(container, "extend" if isinstance(container, list) else "update")(content)


class _Buffers:
    """The buffers of one module: which tensors they are, and their values."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._held = [(name, buffer, _version(buffer), _copy(buffer)) for name, buffer in _items(module)]

    def put_back(self) -> None:
        now = self.module._buffers
        if not _same(now, before := {name: buffer for name, buffer, _, _ in self._held}):
            now.clear()
            now.update(before)
        for _, buffer, version, copy in self._held:
            if buffer is None or copy is None or (version is not None and buffer._version == version):
                continue
            if not torch.equal(buffer, copy):
                with torch.no_grad():
                    buffer.copy_(copy)


def _items(module: nn.Module) -> list[tuple[str, Tensor | None]]:
    return list(module._buffers.items())


def _version(buffer: Tensor | None) -> int | None:
    return None if buffer is None or buffer.is_inference() else buffer._version


def _copy(buffer: Tensor | None) -> Tensor | None:
    if buffer is None or buffer.is_meta or buffer.nbytes > LARGEST_BUFFER:
        return None
    return buffer.detach().clone()


def _same(container: Any, content: Any) -> bool:
    """Return whether a container holds the same objects, in the same order where it has one."""
    if len(container) != len(content):
        return False
    if isinstance(container, set):
        return bool(container == content)
    if isinstance(container, list):
        return all(one is other for one, other in zip(container, content, strict=True))
    return all(content.get(name, container) is value for name, value in container.items())


def _configs(modules: list[nn.Module]) -> list[Any]:
    """Return the configs of the modules, those for `generate` too, each once."""
    found: dict[int, Any] = {}
    for module in modules:
        for name in ("config", "generation_config"):
            config = vars(module).get(name)
            if hasattr(config, "__dict__"):
                found[id(config)] = config
    return list(found.values())
