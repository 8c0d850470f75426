"""How Babel's models learn: their shape, their documents, and the trainer that feeds one to the other."""

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
    """What decides a run; the same values on the same machine give the same curve.

    Attributes:
        mixture: `aligned` or `unaligned`, see `write_documents`.
        seed: Seeds weights and documents.
        steps: Optimizer steps.
        batch_size: Documents per step.
        learning_rate: The highest, after the warm-up; it falls to 0 along a cosine.
        warmup_steps: Steps until it is reached.
        single_share: The share of documents without a translation.
    """

    mixture: str = "aligned"
    seed: int = 0
    steps: int = 2500
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    single_share: float = 0.1


def make_model(tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> LlamaForCausalLM:
    """A Llama of 6 layers and width 128 with fresh weights, 1.7 million parameters."""
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
    """A trainer ready to train a fresh model, or a given one further.

    Args:
        run: What decides the run.
        output_dir: Folder for what the trainer writes.
        model: A model of Babel's; a fresh one where None.
        trainer_class: Makes the trainer.
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
    """Documents as token ids, without end."""

    def __init__(self, run: Pretraining, tokenizer: PreTrainedTokenizerBase) -> None:
        self._run, self._tokenizer = run, tokenizer

    def __iter__(self) -> Iterator[list[int]]:
        run = self._run
        for document in write_documents(run.mixture, run.seed, run.single_share):
            yield [*self._tokenizer(document)["input_ids"], self._tokenizer.eos_token_id]
