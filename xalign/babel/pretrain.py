"""How the Babel models are trained: their architecture, their documents and their trainer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

from xalign.babel.tokenizer import make_tokenizer
from xalign.babel.write import write_documents
from xalign.model.batches import pad_documents


@dataclass(frozen=True)
class Pretraining:
    """The settings of a training run. The same settings on the same machine give the same loss curve.

    Attributes:
        mixture: `aligned`, `unaligned` or `unequal`, see `write_documents`.
        seed: Seeds the weights and the documents.
        steps: Optimizer steps.
        batch_size: Documents per step.
        learning_rate: The peak learning rate, reached after the warm-up; then it falls to 0 along a cosine.
        warmup_steps: Number of warm-up steps.
        single_share: The share of documents that are a single sentence, in [0, 1].
    """

    mixture: str = "aligned"
    seed: int = 0
    steps: int = 2500
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    single_share: float = 0.1


def make_model(tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> LlamaForCausalLM:
    """Make a Llama of 6 layers and width 128 with random weights: 1.7 million parameters."""
    set_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=6,
            num_attention_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def make_trainer(
    run: Pretraining,
    output_dir: str | Path,
    *,
    model: LlamaForCausalLM | None = None,
    trainer_class: Callable[..., Trainer] = Trainer,
    **arguments: Any,
) -> Trainer:
    """Make a trainer that trains a new model, or continues with a given one.

    Args:
        run: The settings.
        output_dir: The folder that the trainer writes to.
        model: A Babel model to train further; None makes a new one.
        trainer_class: `Trainer` or a class like it.
        **arguments: Further `TrainingArguments`, such as `save_steps`.

    Example:
        >>> trainer = make_trainer(Pretraining(steps=2), "babel-run")
        >>> trainer.args.max_steps
        2
    """
    tokenizer = make_tokenizer()
    defaults: dict[str, Any] = {
        "max_steps": run.steps,
        "per_device_train_batch_size": run.batch_size,
        "learning_rate": run.learning_rate,
        "warmup_steps": run.warmup_steps,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "logging_steps": 10,
        "save_strategy": "no",
        "report_to": "none",
        "seed": run.seed,
        "disable_tqdm": True,
        "use_cpu": True,
    }
    if model is None:
        model = make_model(tokenizer, run.seed)
    else:
        set_seed(run.seed)
    return trainer_class(
        model=model,
        args=TrainingArguments(str(output_dir), **defaults | arguments),
        train_dataset=_Documents(run, tokenizer),
        data_collator=pad_documents,
        processing_class=tokenizer,
    )


class _Documents(IterableDataset[list[int]]):
    """An endless stream of documents as token ids."""

    def __init__(self, run: Pretraining, tokenizer: PreTrainedTokenizerBase) -> None:
        self._run, self._tokenizer = run, tokenizer

    def __iter__(self) -> Iterator[list[int]]:
        run = self._run
        for document in write_documents(run.mixture, run.seed, run.single_share):
            yield [*self._tokenizer(document)["input_ids"], self._tokenizer.eos_token_id]
