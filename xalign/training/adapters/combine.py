"""`combine_adapters` and `search_weights`: add up LoRA adapters exactly, and search for the best weights."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import nn

from xalign.checks import function_of, names, number
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.wrapped import has_adapter

if TYPE_CHECKING:
    from rich.table import Table

How = Literal["sum", "svd", "linear"]
_PEFT: dict[str, str] = {"sum": "cat", "svd": "svd", "linear": "linear"}
GRID = (0.3, 0.5, 0.7, 1.0)
_CUTS_EXACTLY = 0, 21  # earlier releases of PEFT multiply by an adapter's scale twice where they cut ranks
_TRIED = "xalign_tried"


def combine_adapters(
    model: nn.Module, weights: Mapping[str, float], name: str = "combined", *, how: How = "sum"
) -> None:
    """Combine LoRA adapters of a model into a new one, and make it the active adapter.

    With `"sum"`, the change of each weight is exactly Σ w_i · s_i · B_i A_i, where s_i scales adapter i. The
    rank of the new adapter is the sum of theirs. `"svd"` cuts it to the largest of their ranks, so it is not
    exact. The third way is PEFT's `"linear"`. It adds the A matrices of all adapters, and separately their B
    matrices, so the product has cross terms B_i A_j, which no adapter has learnt. It is not an average; it is
    offered to reproduce earlier work.

    Args:
        model: A `PeftModel` that holds the adapters, all of LoRA on one base; `load_adapter` adds one.
        weights: Name of an adapter -> its weight.
        name: The name of the new adapter; another adapter may not have it.
        how: `"sum"`, `"svd"` or `"linear"`.

    Raises:
        ArgumentError: An adapter that does not exist, a name that is taken, no weight, an unknown `how`, or
            `"svd"` with PEFT before 0.21, which does not give the sum.
        ModelError: Adapters of different bases, or with parts that cannot be added: DoRA's magnitudes,
            biases, and modules that are saved whole.

    Reference:
        Liu and Niehues (2025), Middle-Layer Representation Alignment, §5, train a task and an alignment
        adapter apart and merge them. How they merge is not published; the exact sum is our choice.

    Example:
        >>> from peft import LoraConfig, get_peft_model
        >>> adapted = get_peft_model(model, LoraConfig(target_modules=["query"]), adapter_name="task")
        >>> adapted.add_adapter("alignment", LoraConfig(target_modules=["query"]))
        >>> combine_adapters(adapted, {"task": 1.0, "alignment": 0.5})
        >>> adapted.active_adapter
        'combined'
    """
    adapted = _checked(model, weights)
    if how not in _PEFT:
        raise ArgumentError(f"how={how!r:.60} must be one of {', '.join(get_args(How))}")
    if not isinstance(name, str) or not name or name in adapted.peft_config:
        raise ArgumentError(
            f"name={name!r:.60} must be a new name; there are {', '.join(adapted.peft_config)}"
        )
    if how == "svd" and tuple(map(int, version("peft").split(".")[:2])) < _CUTS_EXACTLY:
        raise ArgumentError(
            f"how='svd' counts the scale of each adapter twice in PEFT {version('peft')}; take how='sum', or "
            "PEFT 0.21 or newer"
        )
    ranks = {one: adapted.peft_config[one].r for one in weights}
    if how == "linear" and len(set(ranks.values())) > 1:
        raise ArgumentError(f"how='linear' adds matrices, and their ranks are {ranks}; take how='sum'")
    amounts = [number(f"weights[{one!r}]", weight) for one, weight in weights.items()]
    adapted.base_model.add_weighted_adapter(list(weights), amounts, name, combination_type=_PEFT[how])
    _keep_scale_of_one(adapted, name)
    _keep_mode(adapted, name)
    adapted.set_adapter(name)


def _checked(model: Any, weights: object) -> Any:
    """Return the model, if it has the adapters that are named, and these can be added."""
    if not has_adapter(model):
        raise ArgumentTypeError(f"model must be a PeftModel with its adapters, not {type(model).__name__}")
    if not isinstance(weights, Mapping) or not weights:
        raise ArgumentError(f"weights={weights!r:.60} must be a mapping from adapters to numbers")
    missing = [one for one in weights if one not in model.peft_config]
    if missing:
        raise ArgumentError(
            f"the model has no adapter {', '.join(map(str, missing))}; it has {', '.join(model.peft_config)}"
        )
    configs = {one: model.peft_config[one] for one in weights}
    for one, config in configs.items():
        _refuse_parts(one, config)
    bases = {config.base_model_name_or_path for config in configs.values()} - {None, ""}
    if len(bases) > 1:
        raise ModelError(
            f"the adapters were trained on different models, {', '.join(sorted(map(str, bases)))}; their "
            "changes cannot be added. Where these are two names of one model, make "
            "base_model_name_or_path of their configs equal"
        )
    return model


def _refuse_parts(name: str, config: Any) -> None:
    kind = getattr(config.peft_type, "value", config.peft_type)
    if kind != "LORA":
        raise ModelError(f"adapter {name!r} is of {kind}; only LoRA adapters can be added")
    parts = {
        "use_dora": "DoRA's magnitudes",
        "lora_bias": "a bias",
        "modules_to_save": "modules saved whole",
        "trainable_token_indices": "embeddings of tokens",
    }
    has = [what for option, what in parts.items() if getattr(config, option, None)]
    if config.bias != "none":
        has.append("trained biases of the base")
    if has:
        raise ModelError(
            f"adapter {name!r} has {' and '.join(has)}, which a sum of LoRA changes does not hold; train "
            "without, or merge it into the model first"
        )


def _keep_scale_of_one(model: Any, name: str) -> None:
    """Let the new adapter be scaled by 1: PEFT keeps the option that scales by the root of the rank."""
    model.peft_config[name] = replace(model.peft_config[name], use_rslora=False)
    for module in model.modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict) and name in scaling:
            scaling[name] = 1.0


def _keep_mode(model: Any, name: str) -> None:
    """Let the new adapter be in the mode that its layer is in: PEFT makes its dropout anew, in training."""
    for module in model.modules():
        dropout = getattr(module, "lora_dropout", None)
        if dropout is not None and name in dropout:
            dropout[name].train(module.training)


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search of weights found.

    Attributes:
        weights: The best weights, by adapter.
        score: Their score.
        tried: Every try, the best first.
    """

    weights: dict[str, float]
    score: float
    tried: tuple[tuple[dict[str, float], float], ...]

    def table(self) -> "Table":
        """Return the tries as a rich table."""
        from rich.table import Table

        table = Table(*self.weights, "score", box=None)
        for weights, score in self.tried:
            table.add_row(*(f"{one:g}" for one in weights.values()), f"{score:.4f}")
        return table


def search_weights(
    model: nn.Module,
    adapters: Sequence[str],
    score: Callable[[Any], float],
    *,
    grid: Iterable[float] = GRID,
    how: How = "sum",
) -> Searched:
    """Try every combination of weights from a grid, and return the best.

    Choose on texts that you do not report on. Of equal scores the first wins; small weights come first.

    Args:
        model: As for `combine_adapters`; afterwards it has the same adapters, and the same one is active.
        adapters: Their names.
        score: Function from the model with the combined adapter to a number; higher is better.
        grid: The weights to try for each.
        how: As for `combine_adapters`.

    Raises:
        ArgumentError: As for `combine_adapters`, an empty grid, or a score that is not a finite number.

    Example:
        >>> from peft import LoraConfig, get_peft_model
        >>> adapted = get_peft_model(model, LoraConfig(target_modules=["query"]), adapter_name="task")
        >>> found = search_weights(adapted, ["task"], lambda adapted: 1.0, grid=[0.5, 1.0])
        >>> found.weights
        {'task': 0.5}
    """
    adapters, steps = names("adapters", adapters), sorted({number("grid", one) for one in grid})
    function_of("score", score, "model")
    if not steps:
        raise ArgumentError("grid is empty; give at least one weight to try")
    adapted = _checked(model, dict.fromkeys(adapters, 1.0))
    before, tried = adapted.active_adapter, []
    for combination in itertools.product(steps, repeat=len(adapters)):
        weights = dict(zip(adapters, combination, strict=True))
        try:
            combine_adapters(adapted, weights, _TRIED, how=how)
            tried.append((weights, number("score", score(adapted))))
        finally:
            adapted.set_adapter(before)
            if _TRIED in adapted.peft_config:
                adapted.delete_adapter(_TRIED)
    tried.sort(key=lambda one: -one[1])
    return Searched(*tried[0], tuple(tried))
