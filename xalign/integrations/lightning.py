"""`LightningAlignment`: alignment in the logs of a Lightning `Trainer`."""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xalign.errors import ArgumentError
from xalign.integrations.along import Along
from xalign.integrations.framework import part_of
from xalign.integrations.section import Section
from xalign.model.wrapped import has_adapter


class Alignment:
    """Measures while a Lightning `Trainer` fits, and observes only.

    Its values go to every logger at the step where they were measured, and into `trainer.callback_metrics`:
    `ModelCheckpoint(monitor="nasca")` and `EarlyStopping(monitor="nasca_worst")` work. Validations are
    measured too; the check of validation before training is not. History and reports are in `alignment`, in
    the folder of the trainer's logger.

    Args:
        pairs: Held-out parallel sentences, or what `load_pairs` takes.
        model: The name of the attribute of the `LightningModule` that holds the transformers model. It need
            not be given where it holds one alone.
        tokenizer: The model's tokenizer; the module's `tokenizer` where None.
        **options: As in `AlignmentCallback`, but for those that need a trainer of transformers.

    Raises:
        ArgumentTypeError: An option that does not exist; the nearest one is named.
        ArgumentError: When fitting starts: no model or no tokenizer was found.
    """

    def __init__(
        self,
        pairs: Any,
        model: str | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        **options: Any,
    ) -> None:
        self._section = Section({"pairs": pairs, **options})
        self._model, self._tokenizer = model, tokenizer
        self.along: Along | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Find model and tokenizer, and check everything that can be checked."""
        tokenizer = getattr(pl_module, "tokenizer", None) if self._tokenizer is None else self._tokenizer
        if tokenizer is None:
            raise ArgumentError(
                f"{type(pl_module).__name__} has no tokenizer; give tokenizer=, the model's own"
            )
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        self.along = Along(self._section, model_in(pl_module, self._model), tokenizer, folder)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Measure before the first step."""
        self._log(trainer, pl_module, "start")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Measure after a step, if that is due."""
        self._log(trainer, pl_module, "step")

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure beside a validation of the run."""
        if self.along is not None and not trainer.sanity_checking:
            self._log(trainer, pl_module, "evaluate")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure after the last step."""
        self._log(trainer, pl_module, "end")

    def _log(self, trainer: Any, pl_module: Any, moment: str) -> None:
        with trainer.precision_plugin.forward_context():
            values = getattr(self.along, moment)(trainer.global_step)
        for logger in trainer.loggers if values else ():
            logger.log_metrics(values, step=trainer.global_step)
        if values and moment in ("step", "evaluate"):  # Lightning takes none at the start and the end
            pl_module.log_dict(values, logger=False, batch_size=1)


def model_in(module: nn.Module, name: str | None) -> nn.Module:
    """Return the transformers model that a module holds.

    Args:
        module: The module.
        name: The path to it; None where there is one alone.

    Raises:
        ArgumentError: There is none, or several, or none under that name.
    """
    kind = type(module).__name__
    named: dict[str, nn.Module] = dict(module.named_modules())
    found = {path: one for path, one in named.items() if isinstance(one, PreTrainedModel) or has_adapter(one)}
    outer = {path: one for path, one in found.items() if not any(path.startswith(f"{up}.") for up in found)}
    if name is not None:
        if name not in found:
            raise ArgumentError(
                f"model={name!r} is no transformers model of {kind}; it has {', '.join(found)}"
            )
        return named[name]
    if len(outer) != 1:
        raise ArgumentError(
            f"{kind} holds {len(outer)} transformers models ({', '.join(outer)}); name the one to "
            "measure: model="
        )
    return named[next(iter(outer))]


def __getattr__(name: str) -> Any:
    """Make the class that derives from Lightning's, when it is asked for."""
    if name != "LightningAlignment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = part_of("lightning", "lightning.pytorch.callbacks", "Callback")
    made = type(name, (Alignment, base), {"__doc__": Alignment.__doc__, "__module__": __name__})
    globals()[name] = made
    return made
