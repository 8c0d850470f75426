"""`latent_projection`: an attribute removed in a joint latent space of languages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import function_of
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.provenance import origin_of
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.operators import Operator
from xalign.model.operators.operands import OperandKind
from xalign.model.positions import Positions
from xalign.model.user_function import errors_of
from xalign.model.write import Edit
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.attribute_subspace import (
    Counterfactuals,
    attribute_subspace,
    read_sides,
    sides_of,
)
from xalign.steering.interventions.autoencoder import Autoencoder
from xalign.steering.interventions.latent_space import LatentSpace
from xalign.steering.interventions.reading import check_reading
from xalign.steering.interventions.same_size import generator_of
from xalign.steering.interventions.subspace_projection import random_basis
from xalign.units.compatibility import check_compatible

FormFn = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Form:
    """How a state x changes, given what the decoder makes of its latent with the attribute and without.

    Attributes:
        name: What users type.
        change: (x, D(E(x)), D(E(x) without the attribute)) -> by how much x changes at strength 1.
    """

    name: str
    change: FormFn


FORMS: dict[str, Form] = {
    one.name: one
    for one in (
        Form("difference", lambda states, back, without: without - back),  # noqa: ARG005
        Form("decoded", lambda states, back, without: without - states),  # noqa: ARG005
    )
}


@dataclass(frozen=True, slots=True)
class LatentProjection(Intervention):
    """The intervention that `latent_projection` fits.

    Attributes:
        space: The latent space.
        basis: V, orthonormal directions of the attribute in that space.
        form: How a state changes.
    """

    space: LatentSpace | None = None
    basis: Float[Tensor, "latent rank"] | None = None
    form: Form = FORMS["difference"]


def latent_projection(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    space: LatentSpace,
    counterfactuals: Counterfactuals,
    *,
    rank: int = 1,
    form: str | Form | FormFn = "difference",
    positions: Positions = "all",
    **options: Any,
) -> LatentProjection:
    """Remove the directions of an attribute from a model's states, in a joint latent space of languages.

    V holds the first directions in which the latents E(x) of counterfactual sentences differ. For a token's
    state x with the latent z = E(x), z − V Vᵀ z is the latent without the attribute. At strength s,

    - `"difference"`: x becomes x + s · (D(z − V Vᵀ z) − D(z)), so that what the autoencoder does not bring
      back stays as it is. It is the default: the fit is on pooled states, and tokens spread further;
    - `"decoded"`: x becomes x + s · (D(z − V Vᵀ z) − x): at 1 the decoder's output alone, as on paper. What
      the autoencoder loses is lost to the model.

    Args:
        model: The model that the space was fitted on; it is only read.
        tokenizer: Its tokenizer.
        space: A space that `fit_latent_space` made.
        counterfactuals: Language -> pairs of sentences that differ in the attribute only.
        rank: How many directions.
        form: A name above, a `Form`, or a function (x, D(z), D(z − V Vᵀ z)) -> change of x.
        positions: At which tokens, as in `write`.
        **options: Those of `activations` that are for reading, such as `token_budget`.

    Returns:
        An intervention at the site of the space. Its control removes as many random directions.

    Raises:
        UnitsError: A space of a model of another shape.
        ArgumentError: No pair, equal sides, a rank that is too high, or an unknown form.

    Reference:
        Peng et al. (2025), as in `fit_autoencoder`; the projection is that of Liang et al. (2020).

    Example:
        >>> from xalign.steering import fit_latent_space
        >>> texts = load_pairs("bundled", ["deu_Latn"], n=40).texts
        >>> space = fit_latent_space(model, tokenizer, texts, "1.hidden")
        >>> sides = {"eng_Latn": [("He reads a book.", "She reads a book."), ("He runs.", "She runs.")]}
        >>> with steer(model, latent_projection(model, tokenizer, space, sides)):
        ...     _ = model(**batch)
    """
    check_reading("latent_projection", options)
    if not isinstance(space, LatentSpace):
        raise ArgumentTypeError(f"space must be a LatentSpace, not {type(space).__name__}")
    check_compatible(space.provenance, map_model(model))
    chosen, texts = _resolved(form), sides_of(counterfactuals)
    both = read_sides(model, tokenizer, texts, space.site, space.pool, **options)[space.site]
    one, other = space.autoencoder.encode(both).unbind(dim=1)
    basis = attribute_subspace(one - other, rank).float()
    settings = {"rank": rank, "form": chosen.name, "space": dict(space.provenance)} | options
    origin = origin_of(model, texts, "latent_projection", settings)
    return _intervention("latent_projection", space, basis, chosen, positions, origin)


def _resolved(form: str | Form | FormFn) -> Form:
    if isinstance(form, Form):
        return form
    if isinstance(form, str) and form in FORMS:
        return FORMS[form]
    if callable(form):
        function_of("form", form, "states", "back", "without")
        return Form(getattr(form, "__name__", type(form).__name__), form)
    raise ArgumentError(
        f"form={form!r:.60} must be one of {', '.join(FORMS)}, a Form, or a function (x, D(z), D(z without "
        "the attribute)) -> change"
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Parts:
    """What the operator needs, on one device."""

    autoencoder: Autoencoder
    basis: Tensor
    form: Form

    def on(self, values: Tensor) -> "_Parts":
        """Return the parts where the values are, in float32 or wider."""
        wide = torch.promote_types(values.dtype, torch.float32)
        moved = self.autoencoder.to(values.device, wide)
        return _Parts(moved, self.basis.to(values.device, wide), self.form)


def _project(values: Tensor, operand: tuple[_Parts, float]) -> Tensor:
    """Return states changed as the form says."""
    parts, strength = operand
    states = values.to(parts.basis.dtype)
    latent = parts.autoencoder.encode(states)
    without = latent - latent @ parts.basis @ parts.basis.T
    back, free = parts.autoencoder.decode(latent), parts.autoencoder.decode(without)
    with errors_of(f"form {parts.form.name!r}"):
        change = parts.form.change(states, back, free)
    if not isinstance(change, Tensor) or change.shape != states.shape:
        raise ArgumentTypeError(f"form {parts.form.name!r} must return a tensor {list(states.shape)}")
    found: Tensor = (states + strength * change).to(values.dtype)
    return found


def _check_width(site: Site, operand: tuple[_Parts, float], units: int) -> None:
    width = operand[0].autoencoder.width
    if width != units:
        raise ArgumentError(f"the latent space is of states of width {width}, and site {site} has {units}")


_SPACE = OperandKind(
    lambda name, operand: None,  # noqa: ARG005
    _check_width,
    lambda operand, values, site: (operand[0].on(values), operand[1]),  # noqa: ARG005
    once=True,
)


def _intervention(
    name: str,
    space: LatentSpace,
    basis: Tensor,
    form: Form,
    positions: Positions,
    origin: Mapping[str, Any],
) -> LatentProjection:
    operator = Operator("latent projection", _project, operand=_SPACE, of_units=None, of_vector=None)

    def make(strength: float) -> dict[Site, Edit]:
        return {space.site: Edit(operator, (_Parts(space.autoencoder, basis, form), strength))}

    def control(seed: int) -> Intervention:
        drawn = random_basis(basis, generator_of(seed, name, space.site))
        elsewhere = {**origin, "method": "random"}
        return _intervention(f"{name} random {seed}", space, drawn, form, positions, elsewhere)

    return LatentProjection(name, make, positions, origin, control, space, basis, form)
