"""The edit that `xalign confusion --edit` tries: units or a vector from a folder, where they suit."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from xalign.cli.loading import check_source
from xalign.confusion.trial import Change
from xalign.errors import ArgumentError
from xalign.languages import match_language
from xalign.model.operators import OPERATORS
from xalign.model.positions import check_positions
from xalign.steering.interventions.confusion_neurons import edit_confusion_neurons
from xalign.steering.interventions.contrastive_addition import from_last_prompt
from xalign.steering.steer import edits_of, steer
from xalign.units.artefact import kind_of_artefact
from xalign.units.language_vector import KIND, LanguageVector
from xalign.units.unit_set import UnitSet

ANSWER = "answer"


def loaded_edit(
    sources: Sequence[str],
    model: nn.Module,
    operator: str | None = None,
    strength: float | None = None,
    positions: Any = None,
    reference: nn.Module | None = None,
) -> Change:
    """Return the edit that units, or vectors of some languages, make to each prompt.

    Units that are silenced, or replaced by a reference's, are the same for all prompts. Others, and vectors,
    act where their language is wanted.

    Args:
        sources: The folder or Hub id of units, or those of vectors.
        model: The model that is edited.
        operator: The name of an operator; by default units are silenced, and vectors added.
        strength: Its strength.
        positions: The name of the tokens that are changed, as in `write`, or `answer`: the last token of the
            prompt and the generated ones. By default all.
        reference: A model whose neurons replace the units; None changes activations.

    Raises:
        ArgumentError: An operator that does not suit, or options that do not go together.
    """
    for source in sources:
        check_source("edit", source)
    if operator is not None and operator not in OPERATORS:
        raise ArgumentError(f"operator={operator!r:.60} must be one of {', '.join(OPERATORS)}")
    if positions == ANSWER:
        positions = from_last_prompt
    elif positions is not None:
        check_positions(positions)
    how: dict[str, Any] = {"strength": strength, "positions": positions}
    are_vectors = [kind_of_artefact(source) == KIND for source in sources]
    if all(are_vectors):
        if reference is not None:
            raise ArgumentError("reference= is for units; a vector is written as it is, so leave it out")
        vectors = [LanguageVector.from_pretrained(source) for source in sources]
        return _by_label(model, {one.label: one for one in vectors}, operator=operator, **how)
    if len(sources) > 1:
        raise ArgumentError("edit= takes one folder of units, or several of vectors; give no others")
    units = UnitSet.from_pretrained(sources[0])
    if reference is None and operator is not None and OPERATORS[operator].operand.is_needed:
        return _by_label(model, {label: units[label] for label in units.labels}, operator=operator, **how)
    if reference is not None and operator is not None:
        raise ArgumentError(f"operator={operator!r} and reference= do not go together: leave one out")
    if operator is not None:  # it needs no value of a language, and so is the same for all
        edits_of(units, operator, strength)
        return lambda _: steer(model, units, operator=operator, **how)
    mode: dict[str, Any] = {} if reference is None else {"mode": "copy", "reference": reference}
    edit = edit_confusion_neurons(model, units, **mode)
    return lambda _: steer(model, edit, **how)


def _by_label(model: nn.Module, of_label: dict[str, Any], **how: Any) -> Change:
    """Return the edit that acts where its language is wanted."""
    for one in of_label.values():  # refuses what does not suit before anything is answered
        edits_of(one, how["operator"], how["strength"])
    return lambda language: _steered(model, of_label, language, **how)


def _steered(
    model: nn.Module, of_label: dict[str, Any], language: str, **how: Any
) -> AbstractContextManager[Any]:
    """Return the context for prompts of a language: nothing is changed where there is no edit for it."""
    label = match_language(language, of_label)
    return nullcontext() if label is None else steer(model, of_label[label], **how)
