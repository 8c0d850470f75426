"""`Snapshot`: what a model's modules hold, all but the values of weights, noted and put back."""

from typing import Any

from torch import nn

from xalign.model.contents import contents_of
from xalign.model.distributed import sharded_modules
from xalign.model.hooks import hooks_of, remove_hooks
from xalign.model.parts import Parts
from xalign.model.undo import Steps, undo

# What torch keeps on every module. `Parts` notes the weights and submodules; hooks may be a user's,
# registered meanwhile.
_OF_TORCH = set(vars(nn.Module())) - {"_non_persistent_buffers_set"}


class Snapshot:
    """Training modes, parts, buffers, attributes and hooks of xalign on every module, as they are now.

    Models with dynamic RoPE replace buffers and attributes in a long forward, BigBird replaces submodules in
    a short one, `generate` keeps caches on the model, and merged adapters are listed on their layers. What a
    module did not have is deleted, what it had is put back, and the values of tensors are copied back where
    they changed. Of weights, only which they are and whether they are trained is noted.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = list(model.modules())
        self._hooks = hooks_of(self._modules)
        self._training = [module.training for module in self._modules]
        self._trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        of_modules = [Attributes(module) for module in self._modules]
        self._objects = [*of_modules, *(Attributes(config) for config in _configs(self._modules))]
        sharded = sharded_modules(model)
        self._parts = [Parts(module, module in sharded) for module in self._modules]
        # A forward may unmerge them, for good: their weights are then others too.
        merged = {one for module in self._modules if is_merged(module) for one in module.modules()}
        noted = list(zip(self._modules, of_modules, self._parts, strict=True))
        self._with_buffers = [attributes for module, attributes, _ in noted if module._buffers]
        self._rewound = [(parts, attributes) for module, attributes, parts in noted if module not in merged]

    @property
    def training(self) -> list[tuple[nn.Module, bool]]:
        """Each module with its mode."""
        return list(zip(self._modules, self._training, strict=True))

    def rewind(self) -> None:
        """Put back what a forward left on modules with buffers, so that the next one begins as it did.

        If it replaced or deleted parts, attributes of any module may say so, and all are put back. Parts that
        it only added stay until the end: made again, they would have other random weights.
        """
        undo([attributes.put_back for attributes in self._with_buffers])
        if any(parts.lost for parts, _ in self._rewound):
            undo([parts.put_back for parts, _ in self._rewound])
            undo([attributes.put_back for _, attributes in self._rewound])

    def put_back(self) -> None:
        """Make the modules again what they were. What cannot be put back keeps nothing else from it."""
        steps: Steps = [self._put_back_hooks, self._put_back_modes]
        steps += [parts.put_back for parts in self._parts]
        undo([*steps, *(attributes.put_back for attributes in self._objects)])

    def _put_back_hooks(self) -> None:
        remove_hooks(self._modules, lambda hook: hook not in self._hooks)

    def _put_back_modes(self) -> None:
        for module, training in self.training:
            module.training = training
        for parameter, is_trained in self._trained:
            if parameter.requires_grad != is_trained:
                parameter.requires_grad_(is_trained)


class Attributes:
    """The attributes of an object, and what is inside of those, as they are now.

    Args:
        owner: A module, with its buffers, but without its weights, submodules and hooks; or another object.
    """

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._values = {name: value for name, value in vars(owner).items() if name not in _OF_TORCH}
        buffers = [owner._buffers] if isinstance(owner, nn.Module) else []
        self._contents = contents_of([*self._values.values(), *buffers])

    def put_back(self) -> None:
        """Make the attributes again what they were."""
        undo([self._put_back_names, *(inside.put_back for inside in self._contents)])

    def _put_back_names(self) -> None:
        now = vars(self._owner)
        for name in [name for name in now if name not in self._values and name not in _OF_TORCH]:
            del now[name]
        for name, value in self._values.items():
            if now.get(name, self) is not value:
                now[name] = value


def is_merged(module: nn.Module) -> bool:
    """Return whether PEFT has merged an adapter into the weights of a layer."""
    return bool(getattr(module, "merged_adapters", None))


def _configs(modules: list[nn.Module]) -> list[Any]:
    """Return the configs of the modules, those for `generate` too, each once."""
    found: dict[int, Any] = {}
    for module in modules:
        for name in ("config", "generation_config"):
            config = vars(module).get(name)
            if hasattr(config, "__dict__"):
                found[id(config)] = config
    return list(found.values())
