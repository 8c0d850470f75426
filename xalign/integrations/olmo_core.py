"""`OLMoAlignment`: alignment in the metrics of a trainer of OLMo-core."""

from dataclasses import field, make_dataclass
from typing import Any

from transformers import AutoTokenizer

from xalign.errors import ArgumentError
from xalign.integrations.along import Along
from xalign.integrations.framework import part_of
from xalign.integrations.section import Section
from xalign.integrations.token_model import TokenModel


class Alignment:
    """Measures while a trainer of OLMo-core trains, and observes only.

    Its values are metrics of the trainer, `eval/alignment/nasca_deu_Latn`, which every tracker callback gets.
    History and reports are in `alignment`, in the trainer's `work_dir`.

    Attributes:
        tokenizer: A folder or Hub id of the tokenizer, as transformers loads it: that of the training text.
        section: What to measure: the keys of a section `xalign`.
        context: The most tokens of a sentence.

    Raises:
        ArgumentTypeError: A key that does not exist; the nearest one is named.
        ArgumentError: A key that needs a trainer of transformers, or a train module without one model.
    """

    tokenizer: str
    section: dict[str, Any]
    context: int
    trainer: Any

    def __post_init__(self) -> None:
        """Refuse misspelt keys when the config is made."""
        Section(self.section)
        if not self.tokenizer:
            raise ArgumentError("tokenizer is missing: the folder or Hub id of the one of the training text")
        self._along: Along | None = None

    def pre_train(self) -> None:
        """Check everything that can be checked, and measure before the first step."""
        model = getattr(self.trainer.train_module, "model", None)
        if model is None:
            name = type(self.trainer.train_module).__name__
            raise ArgumentError(f"{name} has no attribute model: it is no train module of one transformer")
        tokenizer = AutoTokenizer.from_pretrained(self.tokenizer)
        wrapped = TokenModel(model, self.context, model.vocab_size)
        self._along = Along(Section(self.section), wrapped, tokenizer, self.trainer.work_dir)
        self._record("start")

    def post_step(self) -> None:
        """Measure after a step, if that is due."""
        self._record("step")

    def post_train(self) -> None:
        """Measure after the last step."""
        self._record("end")

    def _record(self, moment: str) -> None:
        for key, value in getattr(self._along, moment)(self.trainer.global_step).items():
            self.trainer.record_metric(f"eval/alignment/{key}", value)


def __getattr__(name: str) -> Any:
    """Make the class that derives from OLMo-core's, when it is asked for."""
    if name != "OLMoAlignment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = part_of("ai2-olmo-core", "olmo_core.train.callbacks", "Callback")
    fields: Any = [
        ("tokenizer", str, ""),
        ("section", dict[str, Any], field(default_factory=lambda: {"pairs": "bundled"})),
        ("context", int, 1024),
    ]
    namespace = {"__doc__": Alignment.__doc__, "__module__": __name__}
    made = make_dataclass(name, fields, bases=(Alignment, base), namespace=namespace)
    globals()[name] = made
    return made
