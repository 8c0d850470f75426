"""`AlignmentConfig`: every choice of an alignment loss, from Python, YAML or the command line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from xalign.control import CONTROLLERS
from xalign.control.controller import Controller, Decide, resolve_controller
from xalign.losses import LOSSES, TRANSFORMS
from xalign.losses.contrastive import Direction
from xalign.losses.loss import Kind, Loss, LossFn, resolve_loss
from xalign.losses.transform import Transform, TransformFn, resolve_transform
from xalign.measurement.options import MeasureOptions
from xalign.model.architectures.sites import Pool
from xalign.model.encode import Template
from xalign.model.inputs import TextOptions
from xalign.model.language_marks import codes_of_text
from xalign.pairs.parallel import ParallelPairs
from xalign.plain_config import Plain
from xalign.renamed import warn_deprecated
from xalign.training.check_config import MODES as MODES
from xalign.training.check_config import Mode, Partners, check_config
from xalign.training.guards.start import Origin
from xalign.training.layers import LayerChoice, parse_layers
from xalign.training.settings import settings_of


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class AlignmentConfig:
    """Where an alignment loss acts, how strongly, and on which pairs.

    `AlignmentArguments` has the same fields for YAML files and command lines.

    Raises:
        ArgumentError: A value that is not allowed; the field is named.
        ArgumentTypeError: A value of a type that is not allowed.

    Example:
        >>> AlignmentConfig(pairs="bundled", loss="contrastive", layer=0.5).kind
        'hidden'
        >>> def distance(language, pivot):
        ...     return (language - pivot).square().mean()
        >>> AlignmentConfig(pairs="bundled", loss=distance, kind="inner").pool
        'mean'
    """

    pairs: ParallelPairs | str | Path | None = _option(
        None, "Training pairs: a path, or 'bundled'. In Python, also ParallelPairs."
    )
    loss: str | Loss | LossFn = _option(
        "neuron_state",
        f"{', '.join(map(repr, LOSSES))}. In Python, also a Loss or a function (language, pivot) -> loss.",
    )
    transform: str | Transform | TransformFn | None = _option(
        None,
        f"What is done to the states before they are compared: {', '.join(map(repr, TRANSFORMS))}. Default: "
        "nothing. In Python, also a Transform or a function.",
    )
    layer: LayerChoice = _option(
        "all",
        "Where the loss acts: a block ('8'), a fraction of the depth ('0.5'), several blocks ('4,8'), "
        "several with relative weights ('4:.5,8:.5'), 'all', or 'auto' to choose by measuring held-out "
        "pairs.",
    )
    weight: float = _option(1.0, "Factor of the alignment loss; 0 switches it off.")
    batch_size: int = _option(32, "Pairs per micro-batch and process.")
    chunk_size: int | None = _option(
        None,
        "To save memory, run this many pairs at a time; the gradient is still that of the whole batch.",
    )
    temperature: float | None = _option(
        None, "Temperature, at least 0.0001, of losses that have one. Default: the loss's own."
    )
    direction: Direction = _option(
        "both",
        "For contrastive losses: which side picks its translation, 'to_pivot', 'from_pivot' or 'both'.",
    )
    kind: Kind | None = _option(
        None,
        "Kind of site to read: 'hidden', 'inner', 'attn_out', 'mlp_out' or 'gate'. Default: the loss's own.",
    )
    pool: Pool | None = _option(
        None,
        "How to pool over a sentence's tokens: 'mean', 'weighted', 'last', 'max', or 'first', such as [CLS]. "
        "Default: the loss's own.",
    )
    centre: bool = _option(
        True, "For contrastive losses: subtract each language's mean over the batch before comparing."
    )
    gather: bool = _option(
        False, "For contrastive losses: take negatives from all processes instead of only this one."
    )
    mask_duplicates: bool = _option(
        True,
        "For contrastive losses: pairs that share a sentence are not each other's negatives. Off, they are.",
    )
    detach_pivot: bool = _option(False, "Keep the pivot in place: no gradient on its side.")
    frozen_pivot: bool = _option(
        False,
        "For models with adapters: pivot sentences run with the adapters off, so that the pivot stays "
        "exactly what it was.",
    )
    links: Mapping[str, Any] | str | Path | None = _option(
        None,
        "For losses of words: which words of the pairs translate each other. A folder with a file per "
        "language, 'deu_Latn.txt', of lines like '0-0 2-1' (word, pivot word). In Python, also language -> "
        "links per pair.",
    )
    mode: Mode = _option(
        "joint", "'joint' adds the alignment loss to the task's; 'alternate' switches between the two."
    )
    alternate_every: int = _option(
        2,
        "In mode 'alternate', every N-th micro-batch trains on alignment only, and its task data is skipped; "
        "2 means every other micro-batch.",
    )
    replay: str | Path | Sequence[str] | None = _option(
        None,
        "Text that preserves the language model: a file with a document per line, whose language-modelling "
        "loss is added. In Python, also a list of texts.",
    )
    replay_weight: float = _option(1.0, "Factor of the replay loss.")
    replay_batch_size: int = _option(8, "Replayed documents per micro-batch and process.")
    kl: float = _option(
        0.0,
        "Factor of a guard: how far the next tokens that the model expects in replayed text have moved since "
        "before training. Costs a forward of that text.",
    )
    pivot_drift: float = _option(
        0.0,
        "Factor of a guard: how far the states of the pivot sentences have moved since before training. "
        "Costs a forward of these sentences.",
    )
    l2_sp: float = _option(
        0.0,
        "Factor of a guard: half the squared distance of the trained weights from where they began. Costs a "
        "copy of what is trained.",
    )
    start: Origin | None = _option(
        None,
        "What the model was before training, for kl, pivot_drift and losses that ask: 'adapter_off', or "
        "'copy', which keeps a copy of all weights. Default: adapters off, where there are any.",
    )
    held_out: ParallelPairs | str | Path | None = _option(
        None,
        "Pairs to measure on: a path, or 'bundled'. It is an error if the training pairs share a sentence "
        "with them. In Python, also ParallelPairs.",
    )
    eval_pairs: ParallelPairs | str | Path | None = _option(
        None,
        "Pairs whose alignment loss each evaluation of the trainer adds as eval_align_loss, and with the "
        "task's as eval_joint_loss, to stop by. None of their sentences may be trained on. In Python, also "
        "ParallelPairs.",
    )
    languages: list[str] | None = _option(None, "Train on these languages of `pairs` only. Default: all.")
    languages_per_batch: int | None = _option(
        None,
        "Languages in a micro-batch, drawn anew for each. Default: as many as can have 8 pairs each.",
    )
    language_temperature: float | None = _option(
        None,
        "Draw languages by size: n pairs give a language a share proportional to n^(1/T). 1 is by size, and "
        "the higher, the more even. Default: all the same.",
    )
    epochs: int | None = _option(
        None,
        "Draw each pair once per epoch, and stop aligning after so many epochs; 0 goes on without end. "
        "Default: every micro-batch draws anew.",
    )
    partners: Partners = _option(
        "pivot",
        "What each language is aligned with: 'pivot', or 'any': each micro-batch draws which language stands "
        "in the pivot's place, from n-way text.",
    )
    pivot: str = _option("eng_Latn", "The language all others are aligned with, where pairs is a path.")
    template: Template | None = _option(
        None,
        "Text around each sentence, like 'query: {text}'. In Python, also a function (text, language) -> "
        "text.",
    )
    template_pooled: bool = _option(False, "Pool the template's tokens too, not only the sentence's own.")
    max_length: int | None = _option(
        None, "Cut sentences to this many tokens. Default: sentences longer than the context are an error."
    )
    source_codes: dict[str, str] | str | None = _option(
        None,
        "Codes with which the tokenizer marks sentences, where xalign cannot find them: "
        "'nso_Latn=ns,swh_Latn=sw'.",
    )
    control: str | Controller | Decide | None = _option(
        None,
        "Who decides from measurements, while training, how often, in which languages and how strongly to "
        "align, and how much to replay: 'loop', 'duty', 'deficit', 'guarded', 'fixed' or 'random'. Default: "
        "nobody. In Python, also a Controller or a function (signals, decisions) -> Decision.",
    )
    control_pairs: ParallelPairs | str | Path | None = _option(
        None,
        "Pairs to decide by: a path, or 'bundled'. They share no sentence with the training pairs nor with "
        "those that a callback measures. In Python, also ParallelPairs.",
    )
    control_every: int = _option(25, "Measure the control pairs and decide every so many steps.")
    target: float | str | None = _option(
        None,
        "Score to reach on the control pairs: 0.85, '+0.2' above the first measurement, or 'half the gap'. "
        "Default: the controller's own.",
    )
    max_forgetting: float | None = _option(
        None,
        "How far the guarded texts' loss may have risen at the end, as a share: 0.02 is 2 %. Default: the "
        "controller's own.",
    )
    guard: dict[str, list[str]] | str | Path | None = _option(
        None,
        "Text whose loss must not rise: a file with a text per line, in the pivot language. In Python, also "
        "a dict of language to texts. Default: the control pairs' pivot sentences.",
    )
    guard_reference: str | Path | None = _option(
        None,
        "A run of the task alone by which forgetting is judged: the decisions.jsonl of one with control "
        "'fixed' and weight 0. Default: judge by the losses before training.",
    )
    budget_pairs: int | None = _option(None, "The most pairs to train on in the whole run.")
    budget_seconds: float | None = _option(None, "The most seconds of the run in which to align.")
    seed: int = _option(0, "Decides which pairs are drawn when; the trainer's own seed plays no part in it.")

    def __post_init__(self) -> None:
        """Check every field, and fill in what the loss decides."""
        loss = self.resolved_loss
        parse_layers(self.layer)
        check_config(self, loss)
        if isinstance(self.source_codes, str):
            self.source_codes = codes_of_text(self.source_codes) if self.source_codes.strip() else None
        _ = self.text_options  # which checks its own

    @property
    def resolved_loss(self) -> Loss:
        """The loss that `loss` names or holds, as an object."""
        return resolve_loss(self.loss, LOSSES)

    @property
    def resolved_transform(self) -> Transform | None:
        """The transform that `transform` names or holds, as an object; None if there is none."""
        return None if self.transform is None else resolve_transform(self.transform, TRANSFORMS)

    @property
    def resolved_controller(self) -> Controller | None:
        """The controller that `control` names or holds, with `target` and `max_forgetting`; None if unset."""
        if self.control is None:
            return None
        asked = {"target": self.target, "max_forgetting": self.max_forgetting}
        options = {name: one for name, one in asked.items() if one is not None}
        return resolve_controller(self.control, CONTROLLERS, options)

    @property
    def settings(self) -> dict[str, Plain]:
        """Every field that is set, as a tracker's config holds it: `align_weight`, `align_layer` and so on.

        Trainers made by `with_alignment` pass it to the trackers in `report_to`. It contains no sentences.
        """
        return settings_of(self)

    @property
    def text_options(self) -> TextOptions:
        """How sentences become tokens."""
        return TextOptions(
            template=self.template,
            template_pooled=self.template_pooled,
            max_length=self.max_length,
            source_codes=cast(dict[str, str] | None, self.source_codes),
        )

    @property
    def measure_options(self) -> MeasureOptions:
        """How sentences that are measured, and not trained on, become tokens."""
        return MeasureOptions(
            template=self.template,
            template_pooled=self.template_pooled,
            truncate=self.max_length is not None,
            source_codes=cast(dict[str, str] | None, self.source_codes),
        )


# What 0.1.0 knew of each loss, and where a loss says it now.
_OF_LOSSES: dict[str, tuple[str, Callable[[Loss], object]]] = {
    "KINDS": ("kinds[0]", lambda loss: loss.kinds[0]),
    "DEFAULT_POOLS": ("pool", lambda loss: loss.pool),
    "DEFAULT_TEMPERATURES": ("temperature", lambda loss: loss.temperature),
}


def __getattr__(name: str) -> Any:
    if name == "AlignmentArguments":  # which is made from the config
        from xalign.training.arguments import AlignmentArguments

        return AlignmentArguments
    if name not in _OF_LOSSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    attribute, take = _OF_LOSSES[name]
    warn_deprecated(f"{__name__}.{name}", f"xalign.losses.LOSSES[...].{attribute}")
    value = globals()[name] = {loss.name: take(loss) for loss in LOSSES.values()}
    return value
