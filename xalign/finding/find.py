"""`find_units`: the units that carry each language, by any of the methods."""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError
from xalign.finding.activations import activations
from xalign.finding.expert_ap import expert_ap
from xalign.finding.language_neurons import language_neurons
from xalign.model.architectures.layout_argument import takes_layout
from xalign.units.unit_set import UnitSet

Method = Literal["expert_ap", "lape"]
_METHODS: dict[str, Callable[..., UnitSet]] = {"expert_ap": expert_ap, "lape": language_neurons}


@takes_layout
def find_units(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    method: Method = "expert_ap",
    **options: Any,
) -> UnitSet:
    """Finds the units that carry each language.

    Args:
        model: The model; it is only looked at.
        tokenizer: Its tokenizer.
        texts: Language -> sentences, at least two languages.
        method: `"expert_ap"`, units that each tell the language's sentences from all others, or `"lape"`,
            neurons that fire for few languages.
        **options: Those of `xalign.finding.expert_ap` (`sites`, `share`, `k`, `ends`, …) or of
            `xalign.finding.language_neurons` (`share`, `bar`, `penalty`, …).

    Returns:
        Per language its units, the best first.

    Raises:
        ArgumentError: An unknown method, and what the methods raise.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = find_units(model, tokenizer, texts, method="expert_ap", share=0.02)
        >>> units["deu_Latn"]
        UnitSet(deu_Latn 4)
    """
    if method not in _METHODS:
        raise ArgumentError(f"method={method!r} must be one of {', '.join(_METHODS)}")
    own, common = signature(_METHODS[method]).parameters, signature(activations).parameters
    kept = {"pool", "state", "sites"} - own.keys() if method == "lape" else set()
    known = {*own, *common} - kept - {"model", "tokenizer", "texts", "options"}
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ArgumentError(f"{method} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return _METHODS[method](model, tokenizer, texts, **options)
