"""`AlignmentValidator`: alignment beside the validation loss of torchtitan."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from xalign.errors import ArgumentError
from xalign.integrations.along import Along
from xalign.integrations.framework import part_of
from xalign.integrations.section import NAME, Section
from xalign.integrations.token_model import TokenModel

# torchtitan decides when to validate.
_OF_CADENCE = ("every", "at_steps", "at_start", "at_end", "at_evaluate", "max_share")


class Alignment:
    """Measures whenever torchtitan validates, and observes only.

    Its values are logged as `validation_metrics/nasca_deu_Latn`. Its config has two more fields: `xalign`, a
    YAML file with a section `xalign`, and `folder`, in which history and reports are kept as `alignment`.

    Raises:
        ArgumentError: No file, a key that torchtitan decides itself, or a pipeline in several parts.
    """

    def __init__(self, config: Any, **given: Any) -> None:
        super().__init__(config, **given)  # type: ignore[call-arg]
        self._section = Section.read("validator.xalign", config.xalign)
        refused = [key for key in _OF_CADENCE if key in self._section.values]
        if refused:
            raise ArgumentError(
                f"{NAME}: {refused[0]} is not for torchtitan, which measures at validator.freq"
            )
        self._given: Any = given
        self._along: Along | None = None

    def validate(self, model_parts: list[nn.Module], step: int) -> None:
        """Validate, and measure beside it."""
        super().validate(model_parts, step)  # type: ignore[misc]
        with self._given["validation_context"]():
            values = (self._along or self._begin(model_parts, step)).evaluate(step)
        if values:
            named = {f"validation_metrics/{key}": value for key, value in values.items()}
            self._given["metrics_processor"].logger.log(named, step)

    def _begin(self, model_parts: list[nn.Module], step: int) -> Along:
        if len(model_parts) != 1 or self._given.get("pp_schedule") is not None:
            raise ArgumentError(
                f"{NAME}: the blocks of a pipeline are in several processes; measure its checkpoints"
            )
        (decoder,), tokens = model_parts, self._given["tokenizer"]

        def call(ids: Tensor) -> Any:
            positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
            batch = {"input": ids, "positions": positions.contiguous()}
            inputs, _, others = self.post_dataloading_process(batch, ids, model_parts)  # type: ignore[attr-defined]
            return decoder(inputs, **others)

        fast: Any = PreTrainedTokenizerFast
        tokenizer = fast(tokenizer_object=tokens.tokenizer, eos_token=tokens.eos_token)
        model = TokenModel(decoder, self._given["seq_len"], tokens.get_vocab_size(), call)
        self._along = Along(self._section, model, tokenizer, self.config.folder)  # type: ignore[attr-defined]
        self._along.monitor.begin(step)
        return self._along


def __getattr__(name: str) -> Any:
    """Make the class that derives from torchtitan's, when it is asked for."""
    if name != "AlignmentValidator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = part_of("torchtitan", "torchtitan.components.validate", "Validator")
    of_base: Any = base.Config

    @dataclass(kw_only=True, slots=True)
    class Config(of_base):  # type: ignore[misc]
        xalign: str = "xalign.yaml"
        folder: str = "outputs"

    made = type(
        name, (Alignment, base), {"Config": Config, "__doc__": Alignment.__doc__, "__module__": __name__}
    )
    globals()[name] = made
    return made
