"""`find_units`: find the units that carry each language, by any method."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from xalign.checks import known_options
from xalign.errors import ArgumentTypeError
from xalign.finding.method import Find, Method, resolve_method
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.units.unit_set import UnitSet


@takes_layout
def find_units(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    method: str | Method | Find = "expert_ap",
    **options: Any,
) -> UnitSet:
    """Find the units that carry each language.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer; for recordings, its feature extractor or processor.
        texts: Language -> sentences, written or spoken, at least two languages.
        method: `"expert_ap"`, units that each tell the language's sentences from all others; `"lape"`,
            neurons that fire for few languages; another name in `xalign.finding.METHODS`; or one of your own:
            a `Method`, or a function (model, tokenizer, texts, **options) -> `UnitSet`.
        **options: Options of the method: `METHODS[name].options` lists them, and the function
            `METHODS[name].fn` documents them. A function of your own has those of its signature.

    Returns:
        Per language its units, the best first.

    Raises:
        ArgumentError: An unknown method, an option that the method does not have, and what the method raises.
        ArgumentTypeError: A method of your own returned something other than a `UnitSet`.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = find_units(model, tokenizer, texts, method="expert_ap", share=0.02)
        >>> units["deu_Latn"]
        UnitSet(deu_Latn 4)
        >>> def one_neuron(model, tokenizer, texts, layer=0):
        ...     return UnitSet.from_rows([(code, f"{layer}.inner", 7, 0.9, 2.5) for code in texts])
        >>> find_units(model, tokenizer, texts, method=one_neuron, layer=1)
        UnitSet(eng_Latn 1, deu_Latn 1)
    """
    from xalign.finding import METHODS  # the package imports this module

    found_by = resolve_method(method, METHODS)
    unknown = [name for name in options if not found_by.takes(name)]
    if unknown:
        known_options(f"find_units(method={found_by.name!r})", unknown, found_by.options)
    units = found_by.fn(model, tokenizer, texts, **options)
    if not isinstance(units, UnitSet):
        raise ArgumentTypeError(f"method {found_by.name} must return a UnitSet, and returned {units!r:.60}")
    return units
