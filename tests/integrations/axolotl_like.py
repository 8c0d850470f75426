"""What the plugin meets of axolotl, after its `integrations/base.py` and `core/builders` (0.19.0)."""

import importlib
import sys
from types import ModuleType, SimpleNamespace


class Config(dict):
    """A `DictDefault`: keys are attributes too, and those that are missing are None."""

    def __getattr__(self, name):
        return self.get(name)


class BasePlugin:
    """The hooks that the plugin does not have."""

    def get_training_args(self, cfg):
        return None


class PluginManager:
    """Loads plugins by name; an `ImportError` is printed, and the run goes on."""

    _instance = None

    def __init__(self):
        self.plugins = {}

    @classmethod
    def get_instance(cls):
        cls._instance = cls._instance or cls()
        return cls._instance

    def register(self, name):
        module, _, kind = name.rpartition(".")
        try:
            self.plugins[name] = getattr(importlib.import_module(module), kind)()
        except ImportError as error:
            print(f"Error: {error}")

    def get_trainer_cls(self, cfg):
        found = (one.get_trainer_cls(cfg) for one in self.plugins.values())
        return next((kind for kind in found if kind is not None), None)


class HFCausalTrainerBuilder:
    """Which class the trainer has."""

    trainer_class = None

    def _get_trainer_cls(self):
        if self.cfg.plugins:
            found = PluginManager.get_instance().get_trainer_cls(self.cfg)
            if found is not None:
                return found
        return HFCausalTrainerBuilder.trainer_class


def stand_in(monkeypatch, trainer_class):
    """Put it where `import axolotl` finds it."""
    monkeypatch.setattr(PluginManager, "_instance", None)
    monkeypatch.setattr(HFCausalTrainerBuilder, "trainer_class", trainer_class)
    parts = {
        "axolotl": SimpleNamespace(),
        "axolotl.integrations": SimpleNamespace(),
        "axolotl.integrations.base": SimpleNamespace(BasePlugin=BasePlugin, PluginManager=PluginManager),
        "axolotl.core": SimpleNamespace(),
        "axolotl.core.builders": SimpleNamespace(HFCausalTrainerBuilder=HFCausalTrainerBuilder),
    }
    for name, part in parts.items():
        module = ModuleType(name)
        vars(module).update(vars(part))
        monkeypatch.setitem(sys.modules, name, module)
    return PluginManager.get_instance()
