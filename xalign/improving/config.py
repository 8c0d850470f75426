"""A YAML file as a trainer: the model, its text, how it is trained and aligned, and what is reported."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    HfArgumentParser,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from xalign.errors import ArgumentError
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.schema import read_settings
from xalign.training.arguments import AlignmentArguments
from xalign.training.documents import cut_into_blocks
from xalign.training.trainer import with_alignment


@dataclass
class ImproveArguments:
    """The model, the text it goes on learning from, and the sentences that are reported on."""

    model_name_or_path: str = field(metadata={"help": "Path or Hub id of the model to start from."})
    text: list[str] = field(metadata={"help": "Files with one document per line, in UTF-8."})
    block: int = field(default=1024, metadata={"help": "Tokens per training example."})
    measure_pairs: str = field(
        default="bundled", metadata={"help": "Pairs to report on. Nothing is trained on or decided by them."}
    )
    measure_languages: list[str] | None = field(
        default=None, metadata={"help": "Languages to report on; all if absent."}
    )
    measure_n: int | None = field(default=100, metadata={"help": "Report on the first so many pairs."})
    measure_every: int | None = field(
        default=None, metadata={"help": "Steps between reports; only at the start and the end if absent."}
    )
    measure_metrics: list[str] = field(
        default_factory=lambda: ["nasca", "retrieval"], metadata={"help": "What to report."}
    )
    centre: bool = field(default=True, metadata={"help": "Try to subtract each language's mean at the end."})


@dataclass(frozen=True)
class ImproveConfig:
    """What a YAML file says.

    Attributes:
        improve: The model, its text, and what is reported.
        training: The trainer's own arguments.
        alignment: What is aligned, and which controller decides.
    """

    improve: ImproveArguments
    training: TrainingArguments
    alignment: Any

    @classmethod
    def load(cls, path: str | Path, **changes: object) -> "ImproveConfig":
        """Read a YAML file.

        Args:
            path: The file. Its keys are the fields of `ImproveArguments`, of transformers'
                `TrainingArguments`, and of `AlignmentArguments`.
            **changes: Values in place of the file's, such as `output_dir`.

        Raises:
            ArgumentError: It cannot be read, holds unknown keys, or lacks needed ones.

        Example:
            >>> keys = "model_name_or_path: gpt2, text: [text.txt], output_dir: run, use_cpu: true"
            >>> _ = Path("improve.yaml").write_text("{" + keys + "}")
            >>> ImproveConfig.load("improve.yaml", max_steps=2).training.max_steps
            2
        """
        said = read_settings("config", path)
        kinds: Any = (ImproveArguments, TrainingArguments, AlignmentArguments)
        parser = HfArgumentParser(kinds)
        try:
            improve, training, alignment = parser.parse_dict(said | changes)
        except (ValueError, TypeError) as error:
            raise ArgumentError(f"config={str(path)!r}: {error}") from None
        if isinstance(improve.text, str):  # one file, without brackets
            improve.text = [improve.text]
        return cls(improve, training, alignment)

    def make_trainer(self, model: Any = None, tokenizer: PreTrainedTokenizerBase | None = None) -> Trainer:
        """Make the trainer.

        Args:
            model: The model; if None, it is loaded in full precision, which an optimizer needs.
            tokenizer: Its tokenizer; if None, it is loaded.

        Raises:
            ArgumentError: No control pairs, too little text, or a block size that does not fit the model.
        """
        alignment = self.alignment.config()
        name = self.improve.model_name_or_path
        tokenizer = AutoTokenizer.from_pretrained(name) if tokenizer is None else tokenizer
        if model is None:
            model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        context = getattr(model.config, "max_position_embeddings", None) or self.improve.block
        if not 2 <= self.improve.block <= context:  # noqa: PLR2004
            raise ArgumentError(
                f"block={self.improve.block} must lie between 2 and the model's context of {context} tokens"
            )
        return with_alignment(Trainer)(
            model=model,
            args=self.training,
            train_dataset=cut_into_blocks(self.improve.text, tokenizer, self.improve.block),
            processing_class=tokenizer,
            # Blocks are full: there is no padding, and every end of a document counts in the loss.
            data_collator=default_data_collator,
            alignment=alignment,
        )

    def reporting(self) -> ParallelPairs:
        """Load the pairs to report on."""
        improve = self.improve
        return load_pairs(improve.measure_pairs, improve.measure_languages, n=improve.measure_n)
