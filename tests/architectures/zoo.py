"""`zoo`: a tiny random model of every (model type, class) pair of transformers that reads text or speech.

The list is made from the mappings of transformers, so that a new version brings its new models along. What a
pair needs beyond small sizes stands in `zoo_configs.py` and `zoo_inputs.py`.
"""

import inspect
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.architectures.tiny_config import tiny_config
from tests.architectures.zoo_configs import OF_CLASS
from tests.architectures.zoo_families import HEADLESS, family_of
from tests.architectures.zoo_inputs import make_inputs, other_values

# Mapping of transformers -> task. A pair that several mappings list belongs to the first of them.
MAPPINGS = {
    "MODEL_FOR_CAUSAL_LM": "causal",
    "MODEL_FOR_MASKED_LM": "masked",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM": "seq2seq",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ": "speech_seq2seq",
    "MODEL_FOR_CTC": "ctc",
    "MODEL_FOR_RNNT": "transducer",
    "MODEL_FOR_TDT": "transducer",
    "MODEL_FOR_MULTIMODAL_LM": "multimodal",
    "MODEL": "base",
}
# What recurrences decay by: other values than those of a new model make them explode or vanish.
_DECAYS = ("A_log", "dt_", "time_", "decay", "alpha_", "beta")


@dataclass(frozen=True)
class Specimen:
    """One pair of the zoo."""

    model_type: str
    class_name: str
    family: str
    task: str

    def __str__(self) -> str:
        return f"{self.model_type}:{self.class_name}"

    def build(
        self, seed: int = 0, dtype: torch.dtype = torch.float32
    ) -> tuple[PreTrainedModel, dict[str, Tensor]]:
        """A model in evaluation mode whose every weight matters, and inputs that its forward takes."""
        cls = getattr(transformers, self.class_name)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # models warn of sizes that no real one has
            torch.manual_seed(seed)
            config = tiny_config(CONFIG_MAPPING[self.model_type], **OF_CLASS.get(self.class_name, {}))
            model = cls(_config_of(cls, config))
        model = model.to(dtype).eval()
        _enliven(model, torch.Generator().manual_seed(seed))
        inputs = make_inputs(self.model_type, model, torch.Generator().manual_seed(seed))
        return model, {
            name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()
        }

    def other_inputs(self, inputs: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Inputs of the same shapes with other values."""
        return other_values(inputs, torch.Generator().manual_seed(seed))


def zoo() -> list[Specimen]:
    """All pairs, in the order of the mappings."""
    found: dict[tuple[str, str], Specimen] = {}
    with_head: set[str] = set()
    for mapping, task in MAPPINGS.items():
        for model_type, names in getattr(modeling_auto, f"{mapping}_MAPPING_NAMES", {}).items():
            if task == "base" and (model_type not in HEADLESS or model_type in with_head):
                continue
            for name in [names] if isinstance(names, str) else list(names):
                one = Specimen(model_type, name, family_of(model_type, task), task)
                found.setdefault((model_type, name), one)
            with_head.add(model_type)
    return list(found.values())


@torch.no_grad()
def run(model: nn.Module, inputs: dict[str, Tensor]) -> Any:
    """One forward, without a cache."""
    takes = inspect.signature(type(model).forward).parameters
    return model(**inputs, **({"use_cache": False} if "use_cache" in takes else {}))


def _config_of(cls: type[PreTrainedModel], config: PretrainedConfig) -> PretrainedConfig:
    """The config, or the one inside it that a class for text alone takes."""
    if isinstance(config, cls.config_class):
        return config
    inside = [value for value in vars(config).values() if isinstance(value, cls.config_class)]
    return inside[0] if inside else config


@torch.no_grad()
def _enliven(model: nn.Module, generator: torch.Generator) -> None:
    """Draw weights that are too small to matter: biases are not 0, norms not 1, layer scales not 1e-6."""
    for name, weight in model.named_parameters():
        if not weight.is_floating_point() or not weight.numel():
            continue
        finite = bool(torch.isfinite(weight).all())
        if any(decay in name for decay in _DECAYS) and finite:
            continue
        noise = torch.randn(weight.shape, generator=generator).to(weight.dtype)
        if weight.dim() < 2:
            weight.copy_((weight if finite else 0) + 0.1 * noise)
        else:
            fan_in = weight[0].numel() if weight.dim() != 3 else min(weight.shape[1:])
            if not finite or weight.float().std() < 0.5 * fan_in**-0.5:
                weight.copy_(noise * fan_in**-0.5)
