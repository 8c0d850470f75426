"""The edit that `xalign confusion --edit` tries: units or a vector from a folder, where they suit."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from xalign.cli.loading import check_source
from xalign.confusion.trial import Change
from xalign.errors import ArgumentError
from xalign.languages import match_language
from xalign.model.operators import OPERATORS
from xalign.steering.interventions.confusion_neurons import edit_confusion_neurons
from xalign.steering.steer import edits_of, steer
from xalign.units.artefact import kind_of_artefact
from xalign.units.language_vector import KIND, LanguageVector
from xalign.units.unit_set import UnitSet

_ZERO = "zero"


def loaded_edit(
    source: str,
    model: nn.Module,
    operator: str | None = None,
    strength: float | None = None,
    reference: nn.Module | None = None,
) -> Change:
    """Return the edit that a folder of units or of a vector makes to each prompt.

    Units that are silenced, or replaced by a reference's, are the same for all prompts. Others, and a
    vector, act where their language is wanted.

    Args:
        source: The folder or the Hub id.
        model: The model that is edited.
        operator: The name of an operator; by default `zero` of units, and `add` of a vector.
        strength: Its strength.
        reference: A model whose neurons replace the units; None changes activations.

    Raises:
        ArgumentError: An operator that does not suit, or options that do not go together.
    """
    check_source("edit", source)
    if operator is not None and operator not in OPERATORS:
        raise ArgumentError(f"operator={operator!r:.60} must be one of {', '.join(OPERATORS)}")
    if kind_of_artefact(source) == KIND:
        return _of_vector(model, LanguageVector.from_pretrained(source), operator, strength, reference)
    units = UnitSet.from_pretrained(source)
    if reference is not None:
        if operator is not None:
            raise ArgumentError(f"operator={operator!r} and reference= do not go together: leave one out")
        copied = edit_confusion_neurons(model, units, mode="copy", reference=reference)
        return lambda _: steer(model, copied, strength=strength)
    if operator in (None, _ZERO):
        silenced = edit_confusion_neurons(model, units)
        return lambda _: steer(model, silenced, strength=strength)
    of_label = {label: units[label] for label in units.labels}
    for one in of_label.values():
        edits_of(one, operator, strength)  # refuses what does not suit before anything is answered
    return lambda language: _steered(model, of_label, language, operator=operator, strength=strength)


def _of_vector(
    model: nn.Module,
    vector: LanguageVector,
    operator: str | None,
    strength: float | None,
    reference: nn.Module | None,
) -> Change:
    if reference is not None:
        raise ArgumentError("reference= is for units; a vector is written as it is, so leave it out")
    edits_of(vector, operator, strength)
    of_label = {vector.label: vector}
    return lambda language: _steered(model, of_label, language, operator=operator, strength=strength)


def _steered(
    model: nn.Module, of_label: dict[str, Any], language: str, **how: Any
) -> AbstractContextManager[Any]:
    """Return the context for prompts of a language: nothing is changed where there is no edit for it."""
    label = match_language(language, of_label)
    return nullcontext() if label is None else steer(model, of_label[label], **how)
