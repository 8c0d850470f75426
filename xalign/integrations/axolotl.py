"""`AlignmentPlugin`: alignment in the runs of axolotl, asked for in its config file.

```yaml
plugins: [xalign.integrations.axolotl.AlignmentPlugin]
xalign: {pairs: bundled, n: 100, every: 200, align: {pairs: my_pairs, weight: 1.0}}
```
"""

from types import SimpleNamespace
from typing import Any

from transformers import Trainer
from transformers.trainer_callback import TrainerCallback

from xalign.errors import ArgumentError, MissingExtraError
from xalign.integrations.framework import part_of
from xalign.integrations.section import NAME, Section
from xalign.training.trainer import with_alignment


class Alignment:
    """What `AlignmentPlugin` adds to axolotl's `BasePlugin`.

    Its errors stop the run: none is an `ImportError`, after which axolotl goes on without a plugin.
    """

    def register(self, cfg: Any) -> None:
        """Check the section, before anything is loaded.

        Raises:
            ArgumentError: No section, or `align` where axolotl's hook cannot change the trainer's class.
            ArgumentTypeError: A misspelt key.
        """
        asked = Section.of(cfg)
        unusual = [key for key in ("rl", "reward_model", "process_reward_model") if cfg.get(key)]
        if asked.align() is not None and unusual:
            raise ArgumentError(
                f"{NAME}: align does not go with {unusual[0]}: there axolotl gives the class of a plugin "
                "fewer arguments than its own. Measure alone, or train in TRL with xalign.with_alignment"
            )

    def get_input_args(self) -> str:
        """Return where axolotl finds the model of the config's keys."""
        return f"{__name__}.AlignmentArgs"

    def get_trainer_cls(self, cfg: Any) -> type[Trainer] | None:
        """Return the class that axolotl would use, with an alignment loss; None where there is no `align`."""
        alignment = Section.of(cfg).align()
        if alignment is None:
            return None
        manager = _part("axolotl.integrations.base", "PluginManager").get_instance()
        others = [one for one in manager.plugins.values() if one is not self]
        of_others = next((kind for one in others if (kind := one.get_trainer_cls(cfg)) is not None), None)
        aligned: Any = with_alignment(of_others or _class_without_plugins(cfg))

        class Aligned(aligned):  # type: ignore[misc]
            """The class with its config, which axolotl does not pass on."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, alignment=alignment, **kwargs)

        return Aligned

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Trainer) -> list[TrainerCallback]:
        """Return the callback.

        Raises:
            ArgumentError: Another plugin has set the trainer's class before this one was asked.
        """
        asked = Section.of(cfg)
        if asked.align() is not None and not hasattr(trainer, "objective"):
            raise ArgumentError(
                f"{NAME}: align has no effect, as another plugin sets the trainer's class; name "
                f"{__name__}.AlignmentPlugin first in plugins"
            )
        return [asked.callback(trainer)] if asked.measures else []


def _class_without_plugins(cfg: Any) -> type[Trainer]:
    """Return what axolotl's own builder takes where no plugin says otherwise."""
    builder: Any = SimpleNamespace(cfg=type(cfg)({**cfg, "plugins": None}))
    found: type[Trainer] = _part("axolotl.core.builders", "HFCausalTrainerBuilder")._get_trainer_cls(builder)
    return found


def _part(module: str, name: str) -> Any:
    """Return a part of axolotl.

    Raises:
        ArgumentError: It cannot be imported. An `ImportError` would be printed, and the run would go on.
    """
    try:
        return part_of("axolotl", module, name)
    except MissingExtraError as error:
        raise ArgumentError(str(error)) from error


def _arguments() -> Any:
    """Return the model of the key that this plugin adds to axolotl's config."""
    from pydantic import BaseModel, Field, field_validator

    class AlignmentArgs(BaseModel):
        xalign: dict[str, Any] | None = Field(default=None, description="What to measure, and what to align.")

        @field_validator(NAME)
        @classmethod
        def check(cls, values: dict[str, Any] | None) -> dict[str, Any] | None:
            return None if values is None else dict(Section(values).values)

    return AlignmentArgs


def __getattr__(name: str) -> Any:
    """Make the classes that derive from others, when axolotl asks for them."""
    if name == "AlignmentPlugin":
        made = type(name, (Alignment, _part("axolotl.integrations.base", "BasePlugin")), {})
    elif name == "AlignmentArgs":
        made = _arguments()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made.__module__ = __name__
    globals()[name] = made
    return made
