"""Controls: units and labels drawn at random, to compare an effect with."""

import random
from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import check_texts
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.units.columns import Columns
from xalign.units.rows import Rows
from xalign.units.unit_set import UnitSet


@takes_layout
def random_units(model: nn.Module, units: UnitSet, *, seed: int = 0) -> UnitSet:
    """Draw as many other units at the same sites, with the same values in random order.

    The set has the same number of units in each layer and is as strong. A label's own units are not drawn for
    it; those of other labels may be.

    Args:
        model: The model.
        units: The set, of one label or several; each label's units are drawn by themselves.
        seed: The same seed draws the same units.

    Raises:
        ArgumentError: A label has more than half of a site's units, so that too few others are left.

    Example:
        >>> units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
        >>> random_units(model, units, seed=0)["deu_Latn"]
        UnitSet(deu_Latn 1)
    """
    if not isinstance(units, UnitSet):
        raise ArgumentTypeError(f"units must be a UnitSet, not {type(units).__name__}")
    draw, model_map = random.Random(whole_number("seed", seed)), map_model(model)
    parts: list[Columns] = []
    for label in units.labels:
        for site, rows in units[label].by_site().items():
            own, is_free = rows.columns, np.ones(model_map.place(site).width, bool)
            is_free[own.index[own.index < len(is_free)]] = False
            free, n = np.flatnonzero(is_free), len(own)
            if len(free) < n:
                raise ArgumentError(
                    f"units has {n} of the {n + len(free)} units of site {site} for {label}; "
                    "there are not as many others to compare with: choose fewer units"
                )
            value = own.value[draw.sample(range(n), n)]
            index = free[draw.sample(range(len(free)), n)]
            parts.append(Columns.of(own.labels, own.sites, own.label, own.site, index, np.zeros(n), value))
    origin = {**units.provenance, "method": "random", "settings": {"seed": seed}}
    return UnitSet(Rows(Columns.joined(parts)), origin)


def shuffled_texts(texts: Mapping[str, Sequence[str]], *, seed: int = 0) -> dict[str, list[str]]:
    """Return the sentences under random labels, as many under each as before.

    What a method finds in these it finds by chance.

    Args:
        texts: Label -> sentences.
        seed: The same seed gives the same labels.

    Example:
        >>> shuffled_texts({"eng_Latn": ["It rains."], "deu_Latn": ["Es regnet.", "Gute Nacht."]})
        {'eng_Latn': ['Es regnet.'], 'deu_Latn': ['Gute Nacht.', 'It rains.']}
    """
    check_texts(texts)
    every = [text for sentences in texts.values() for text in sentences]
    shuffled = iter(random.Random(whole_number("seed", seed)).sample(every, len(every)))
    return {label: [next(shuffled) for _ in sentences] for label, sentences in texts.items()}
