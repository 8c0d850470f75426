"""How an item counts as solved: by the text that is generated, or by the likeliest of its options."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import boolean, function_of, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.batches import pad_documents
from xalign.model.inputs import Inputs
from xalign.model.placement import device_of
from xalign.model.tokenizer_state import keeping
from xalign.model.user_function import errors_of
from xalign.model.wrapped import base_model_of

Ids = Sequence[int]
Steered = Callable[..., AbstractContextManager[Any]]
"""(item of each row, prompt_length=None) -> a context in which the forwards of these rows are steered."""


class Answers(Protocol):
    """Decides which items of a batch are solved, with the model as it is inside `steered`."""

    def check(self, n: int) -> None:
        """Raise an error where it does not fit n items."""
        ...

    def solved(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Ids],
        items: Sequence[int],
        steered: Steered,
    ) -> Bool[Tensor, " item"]:
        """Return per item whether it is solved; `prompts` are those of `items`."""
        ...


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """An item is solved if a function says so, given the generated text.

    Attributes:
        is_solved: (number of the item, generated text) -> whether it is solved.
        max_new_tokens: How many tokens are generated at most, greedily; 20 in the published code.
        generation: Further arguments of `generate`.

    Example:
        >>> capital = GeneratedAnswer(lambda item, text: "Paris" in text, max_new_tokens=5)
    """

    is_solved: Callable[[int, str], bool]
    max_new_tokens: int = 20
    generation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check types."""
        function_of("is_solved", self.is_solved, "item", "text")
        whole_number("max_new_tokens", self.max_new_tokens, least=1)
        if not isinstance(self.generation, Mapping):
            raise ArgumentTypeError(f"generation={self.generation!r:.60} must hold arguments of generate")

    def check(self, n: int) -> None:
        """Take any number of items."""

    def solved(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Ids],
        items: Sequence[int],
        steered: Steered,
    ) -> Bool[Tensor, " item"]:
        """Generate greedily from the prompts, padded on the left, and ask the function."""
        width, device, pad = max(map(len, prompts)), device_of(model), Inputs(model, tokenizer).pad_id
        ids = torch.tensor([[pad] * (width - len(one)) + list(one) for one in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=device)
        greedy = {"do_sample": False, "num_beams": 1, "pad_token_id": pad}
        options = greedy | {"max_new_tokens": self.max_new_tokens} | dict(self.generation)
        inner: Any = base_model_of(model)
        if getattr(inner, "generate", None) is None:
            raise ArgumentError(
                f"{type(model).__name__} does not generate; give LikeliestOption in its place"
            )
        with steered(items):
            generated = inner.generate(input_ids=ids, attention_mask=mask, **options)
        ends = options.get("eos_token_id", inner.generation_config.eos_token_id)
        rows = [_until(row, ends) for row in generated[:, width:].tolist()]
        with keeping(tokenizer):
            texts = [str(tokenizer.decode(row, skip_special_tokens=True)) for row in rows]
        with errors_of("is_solved(item, text)"):
            return torch.tensor([bool(self.is_solved(*one)) for one in zip(items, texts, strict=True)])


@dataclass(frozen=True, slots=True)
class LikeliestOption:
    """An item is solved if its right option has the highest log-likelihood after the prompt; ties lose.

    Attributes:
        options: Per item its options. Each is tokenized by itself, without special tokens: let it begin with
            the space that separates it from the prompt.
        answers: Per item the number of the right option, from 0.
        per_token: Compare means over the tokens of an option instead of sums.

    Example:
        >>> yes_or_no = LikeliestOption([[" yes", " no"]] * 2, answers=[0, 1])
    """

    options: Sequence[Sequence[str]]
    answers: Sequence[int]
    per_token: bool = False

    def __post_init__(self) -> None:
        """Check types and numbers."""
        boolean("per_token", self.per_token)
        if len(self.options) != len(self.answers):
            raise ArgumentError(
                f"options are of {len(self.options)} items, and answers of {len(self.answers)}"
            )
        for item, (options, answer) in enumerate(zip(self.options, self.answers, strict=True)):
            if (
                isinstance(options, str)
                or len(options) < 2
                or not all(isinstance(one, str) for one in options)
            ):
                raise ArgumentError(f"options[{item}]={options!r:.60} must be at least two texts")
            if whole_number(f"answers[{item}]", answer) >= len(options):
                raise ArgumentError(f"answers[{item}]={answer} is not among its {len(options)} options")

    def check(self, n: int) -> None:
        """Raise an error if there are options for another number of items."""
        if len(self.options) != n:
            raise ArgumentError(f"options are of {len(self.options)} items, and prompts of {n}")

    def solved(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Ids],
        items: Sequence[int],
        steered: Steered,
    ) -> Bool[Tensor, " item"]:
        """Run each prompt, followed by each of its options, in one forward pass."""
        rows = [(at, option) for at, item in enumerate(items) for option in self.options[item]]
        behind = [self._ids(tokenizer, option) for _, option in rows]
        lengths = torch.tensor([len(prompts[at]) for at, _ in rows])
        whole = [[*prompts[at], *ids] for (at, _), ids in zip(rows, behind, strict=True)]
        batch = pad_documents(whole, Inputs(model, tokenizer).pad_id)
        ids, mask = (batch[name].to(device_of(model)) for name in ("input_ids", "attention_mask"))
        with steered([items[at] for at, _ in rows], prompt_length=lengths):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        scores = self._scores(logits, ids, lengths, [len(one) for one in behind])
        return torch.tensor(
            [
                _wins(
                    [score for (row, _), score in zip(rows, scores, strict=True) if row == at],
                    self.answers[item],
                )
                for at, item in enumerate(items)
            ]
        )

    def _ids(self, tokenizer: PreTrainedTokenizerBase, option: str) -> list[int]:
        with keeping(tokenizer):
            ids = list(tokenizer(option, add_special_tokens=False)["input_ids"])
        if not ids:
            raise ArgumentError(f"option {option!r} holds no token")
        return ids

    def _scores(self, logits: Tensor, ids: Tensor, starts: Tensor, counts: Sequence[int]) -> list[float]:
        """Return the log-likelihood of the tokens of each row behind its prompt."""
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2).float(), ids[:, 1:], reduction="none"
        ).double()
        sums = [
            -float(row[start - 1 : start - 1 + count].sum())
            for row, start, count in zip(losses, starts.tolist(), counts, strict=True)
        ]
        return [one / count if self.per_token else one for one, count in zip(sums, counts, strict=True)]


def _until(row: list[int], ends: int | Sequence[int] | None) -> list[int]:
    """Return a row up to the first token that ends it."""
    stops = set(ends) if isinstance(ends, Sequence) else {ends}
    return next((row[:at] for at, token in enumerate(row) if token in stops), row)


def _wins(scores: Sequence[float], answer: int) -> bool:
    return all(scores[answer] > score for number, score in enumerate(scores) if number != answer)
