"""Write units, vectors, whole sites and named interventions into a running model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xalign.renamed import renamed
from xalign.steering.intervention import Intervention
from xalign.steering.steer import steer

if TYPE_CHECKING:
    from xalign.steering.interventions.answers import GeneratedAnswer, LikeliestOption
    from xalign.steering.interventions.attribute_subspace import attribute_subspace
    from xalign.steering.interventions.confusion_neurons import edit_confusion_neurons
    from xalign.steering.interventions.contrastive_addition import contrastive_addition, from_last_prompt
    from xalign.steering.interventions.fit_autoencoder import AutoencoderOptions
    from xalign.steering.interventions.incline import Incline, incline
    from xalign.steering.interventions.language_arithmetic import language_arithmetic
    from xalign.steering.interventions.language_subspace import LanguageSubspace, language_subspace
    from xalign.steering.interventions.latent_projection import LatentProjection, latent_projection
    from xalign.steering.interventions.latent_space import LatentSpace, fit_latent_space
    from xalign.steering.interventions.least_squares import least_squares_map
    from xalign.steering.interventions.pivot_shift import pivot_shift
    from xalign.steering.interventions.shift_layers import ShiftLayers, shift_layers
    from xalign.steering.interventions.subspace_projection import SubspaceProjection, subspace_projection
    from xalign.steering.interventions.transplant import transplant
    from xalign.steering.interventions.transplant_bound import TransplantBound
    from xalign.steering.interventions.upper_bound import transplant_upper_bound

__all__ = [
    "AutoencoderOptions",
    "GeneratedAnswer",
    "Incline",
    "Intervention",
    "LanguageSubspace",
    "LatentProjection",
    "LatentSpace",
    "LikeliestOption",
    "ShiftLayers",
    "SubspaceProjection",
    "TransplantBound",
    "attribute_subspace",
    "contrastive_addition",
    "edit_confusion_neurons",
    "fit_latent_space",
    "from_last_prompt",
    "incline",
    "language_arithmetic",
    "language_subspace",
    "latent_projection",
    "least_squares_map",
    "pivot_shift",
    "shift_layers",
    "steer",
    "subspace_projection",
    "transplant",
    "transplant_upper_bound",
]

# Named interventions read text and models, so they are imported when they are first used.
_HOME = {
    "AutoencoderOptions": "fit_autoencoder",
    "GeneratedAnswer": "answers",
    "Incline": "incline",
    "LanguageSubspace": "language_subspace",
    "LatentProjection": "latent_projection",
    "LatentSpace": "latent_space",
    "LikeliestOption": "answers",
    "ShiftLayers": "shift_layers",
    "SubspaceProjection": "subspace_projection",
    "TransplantBound": "transplant_bound",
    "attribute_subspace": "attribute_subspace",
    "contrastive_addition": "contrastive_addition",
    "edit_confusion_neurons": "confusion_neurons",
    "fit_latent_space": "latent_space",
    "from_last_prompt": "contrastive_addition",
    "incline": "incline",
    "language_arithmetic": "language_arithmetic",
    "language_subspace": "language_subspace",
    "latent_projection": "latent_projection",
    "least_squares_map": "least_squares",
    "pivot_shift": "pivot_shift",
    "shift_layers": "shift_layers",
    "subspace_projection": "subspace_projection",
    "transplant": "transplant",
    "transplant_upper_bound": "upper_bound",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        return renamed(__name__, name)
    module = import_module(f"xalign.steering.interventions.{_HOME[name]}")
    value = globals()[name] = getattr(module, name)
    return value
