"""`AlignmentObjective`: an alignment loss for any training loop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, PairsError
from xalign.losses.contrastive import contrastive
from xalign.losses.cosine import cosine
from xalign.losses.neuron_state import neuron_state, smooth_state
from xalign.losses.similarity import InBatch, in_batch
from xalign.measurement import MeasureOptions
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.distributed import is_sharded, refuse_split
from xalign.model.inputs import context_of, pad_id_of, vocabulary_of
from xalign.model.read import device_of, observing
from xalign.model.wrapped import unwrapped
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.training.config import AlignmentConfig
from xalign.training.layers import AUTO, blocks_of, choose_layer, parse_layers
from xalign.training.pair_forward import PairForward, States
from xalign.training.pair_stream import PairBatch, PairStream
from xalign.training.replay import Replay


@dataclass(frozen=True, slots=True)
class AlignmentStep:
    """What one call of an objective saw, for logs; detached, on the model's device.

    Attributes:
        loss: The alignment loss, without its weight; None with weight 0.
        in_batch: Accuracy and cosines per pair, mean over the layers; None with weight 0.
        codes: Per pair, its language.
        replay_loss: The language-modelling loss of the replayed text, if any.
    """

    loss: Float[Tensor, ""] | None
    in_batch: InBatch | None
    codes: list[str]
    replay_loss: Float[Tensor, ""] | None


class AlignmentObjective:
    """An alignment loss on parallel sentences, ready to be added to any loss.

    A call draws pairs, runs both sides through the model in one forward that ends after the last block
    needed, pools what it finds there and compares. Everything that can be wrong is found when it is built.

    Args:
        model: The model being trained; plain, PEFT, quantised, DDP, FSDP2 or compiled.
        tokenizer: Its tokenizer.
        pairs: Training pairs, or what `load_pairs` takes; those of `config` where absent.
        held_out: Pairs to measure on, beside those of `config`: refused where `pairs` share a sentence with
            them, and what `layer="auto"` measures.
        config: What is asked for, whole; or give its fields.
        **options: The fields of `AlignmentConfig`.

    Attributes:
        config: What was asked for.
        layers: Block -> weight, summing to 1; empty until `"auto"` has been settled.
        reason: Why `"auto"` took its layer.
        is_active: Whether a call has a loss at all; with weight 0 and without replay it has none.
        last: What the last call saw.

    Raises:
        ArgumentError: A bad option, a layer that does not exist, `"auto"` without held-out pairs, a sentence
            longer than the context.
        PairsError: Too few pairs of a language, or pairs that are measured too.
        ModelError: Nothing to train below the layer, reentrant checkpointing, FSDP1, DataParallel, ZeRO-3, an
            unknown architecture, or replay on a model that is no causal language model.

    Reference:
        Liu and Niehues (2025), Middle-Layer Representation Alignment.

    Example:
        >>> objective = AlignmentObjective(model, tokenizer, pairs, layer=0.5, batch_size=4)
        >>> for step in range(2):
        ...     loss = objective(step)  # + the task's own loss
        ...     loss.backward()
        >>> objective.layers
        {1: 1.0}
    """

    @takes_layout
    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        pairs: ParallelPairs | str | Path | None = None,
        *,
        held_out: ParallelPairs | str | Path | None = None,
        config: AlignmentConfig | None = None,
        **options: Any,
    ) -> None:
        if config is not None and options:
            raise ArgumentError(f"give config= or its fields ({', '.join(options)}), not both")
        if not isinstance(config, AlignmentConfig | None):
            raise ArgumentTypeError(f"config must be an AlignmentConfig, not {type(config).__name__}")
        self.config = config = AlignmentConfig(**options) if config is None else config
        if pairs is not None and config.pairs is not None and pairs is not config.pairs:
            raise ArgumentError("pairs= and config.pairs are both given and differ; give one of them")
        pairs = config.pairs if pairs is None else pairs
        if pairs is None:
            raise ArgumentError("no pairs to train on: give pairs=, a path or ParallelPairs")
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ArgumentTypeError(
                f"tokenizer must be a transformers tokenizer, not {type(tokenizer).__name__}"
            )
        self.model, self._tokenizer = model, tokenizer
        n_layers = map_model(model).n_layers
        if isinstance(pairs, ParallelPairs) and config.pivot not in (AlignmentConfig.pivot, pairs.pivot):
            raise ArgumentError(f"pivot={config.pivot!r}, and the pairs given have the pivot {pairs.pivot}")
        self.pairs = _loaded(pairs, config.pivot)
        if config.languages is not None:
            self.pairs = self.pairs.only(config.languages)
        self.held_out: list[ParallelPairs] = []
        context, vocabulary = context_of(model, tokenizer), vocabulary_of(model)
        limits = [limit for limit in (context, config.max_length) if limit is not None]
        self._stream = PairStream(
            self.pairs,
            tokenizer,
            batch_size=config.batch_size,
            languages_per_batch=config.languages_per_batch,
            seed=config.seed,
            template=config.template,
            template_pooled=config.template_pooled,
            context=min(limits, default=None),
            truncate=config.max_length is not None,
            vocabulary=vocabulary,
        )
        self._refuse_too_small_groups()
        pad_id = pad_id_of(tokenizer, below=vocabulary)
        self._forward = PairForward(
            kind=config.kind,  # type: ignore[arg-type]
            state=smooth_state if config.loss == "neuron_state" else Tensor.float,
            pool=config.pool,  # type: ignore[arg-type]
            pad_id=pad_id,
            size=None if config.chunk_size is None else 2 * config.chunk_size,
            alternate=config.mode == "alternate",
        )
        self._replay = None
        if config.replay is not None and config.replay_weight:
            if not getattr(unwrapped(model), "can_generate", lambda: False)():
                raise ModelError(
                    f"replay is the loss of a causal language model, and {type(unwrapped(model)).__name__} "
                    "is none; leave replay out"
                )
            self._replay = Replay(
                config.replay,
                tokenizer,
                batch_size=config.replay_batch_size,
                pad_id=pad_id,
                context=context,
                vocabulary=vocabulary,
                seed=config.seed,
            )
        self.layers: dict[int, float] = {}
        self.reason: str | None = None
        self.last: AlignmentStep | None = None
        for source in (held_out, config.held_out):
            if source is not None:
                self.hold_out(_loaded(source, config.pivot))
        layers = parse_layers(config.layer)
        if layers == AUTO:
            self.choose_layer()
        else:
            self.layers = blocks_of(layers, n_layers)
        self.probe()

    # What is not trained on, and what is chosen by it.

    def hold_out(self, pairs: ParallelPairs) -> None:
        """Notes pairs to measure on, and refuses them where training pairs share a sentence with them.

        Args:
            pairs: The pairs.

        Raises:
            PairsError: A sentence that is trained on too.
        """
        shared = self.pairs.overlap(pairs)
        if shared:
            counts = ", ".join(f"{language} {len(texts)}" for language, texts in shared.items())
            examples = "; ".join(repr(text[:60]) for texts in shared.values() for text in texts[:2])
            raise PairsError(
                f"the training pairs hold sentences that are measured too ({counts}), like {examples}: a "
                "score on them says nothing. Train on others, or measure on others"
            )
        self.held_out.append(pairs)

    def choose_layer(self) -> None:
        """Settles `layer="auto"` by measuring the held-out pairs noted so far.

        Raises:
            ArgumentError: No held-out pairs.
        """
        if not self.held_out:
            raise ArgumentError(
                f"layer={AUTO!r} is settled by measuring: give held_out=, pairs that are not trained on"
            )
        config = self.config
        options = MeasureOptions(
            template=config.template,
            template_pooled=config.template_pooled,
            truncate=config.max_length is not None,
        )
        metric = "mexa" if config.kind == "hidden" else "nasca"
        held_out = [
            pairs.only([code for code in pairs if code in self.pairs])
            for pairs in self.held_out
            if set(pairs) & set(self.pairs)
        ]
        if not held_out:
            raise ArgumentError(
                f"layer={AUTO!r}: held_out has none of the languages trained on, {', '.join(self.pairs)}"
            )
        block, self.reason = choose_layer(self.model, self._tokenizer, held_out, metric, options)
        self.layers = {block: 1.0}

    def probe(self) -> None:
        """Runs one short sentence, to find out now whether a gradient will reach the model.

        Raises:
            ModelError: A layer below which nothing is trained, or a set-up that is not supported.
        """
        refuse_split(self.model, learning=True)
        self._refuse_reentrant()
        shortest = min(self._stream.draw(0).pivot_lines, key=lambda line: len(line[0]))
        # A gradient that enters in the middle of a sharded model finds weights let go: there, only the flag.
        sharded = is_sharded(self.model)
        trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        with observing(self.model), torch.enable_grad():
            states, _ = self._forward(self.model, [shortest], list(self.layers))
            dead = [
                block
                for block, values in zip(self.layers, states, strict=True)
                if not (values.requires_grad if sharded else _reaches(values, trainable))
            ]
        if dead and (parse_layers(self.config.layer) != "all" or len(dead) == len(self.layers)):
            raise ModelError(
                f"no trainable parameter lies below {dead[0]}.{self.config.kind}: the loss could move "
                "nothing. Unfreeze blocks up to there, put adapters on them, or choose a higher layer"
            )

    # One micro-batch.

    @property
    def is_active(self) -> bool:
        """Whether a call has a loss at all."""
        return bool(self.config.weight) or self._replay is not None

    def pairs_of(self, step: int, micro_step: int = 0, rank: int = 0) -> list[tuple[str, int]]:
        """The language and the row of each pair that a call with these arguments compares."""
        return self._stream.rows(step, micro_step, rank)

    def __call__(
        self, step: int, micro_step: int = 0, *, model: nn.Module | None = None
    ) -> Float[Tensor, ""]:
        """The weighted alignment loss of the pairs of one micro-batch, and of the replayed text.

        The same arguments give the same pairs, whatever happened before. With weight 0 nothing is run.

        Args:
            step: Optimizer steps done.
            micro_step: The micro-batch's place among those of its step.
            model: The model as it is wrapped now, where that is not the one given at first.

        Raises:
            ModelError: A loss that is not finite; the pairs are named.
        """
        step, micro_step = whole_number("step", step), whole_number("micro_step", micro_step)
        config, model = self.config, self.model if model is None else model
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        total = torch.zeros((), device=device_of(model))
        replay_loss = None
        if self._replay is not None:
            replay_loss = self._replay.loss(unwrapped(model), step, micro_step, rank)
            total = total + config.replay_weight * replay_loss
            replay_loss = replay_loss.detach()
        if not config.weight:
            self.last = AlignmentStep(None, None, [], replay_loss)
            return total
        pairs = self._stream.draw(step, micro_step, rank)
        lines = [*pairs.language_lines, *pairs.pivot_lines]
        loss, seen = self._compare(pairs, *self._forward(model, lines, list(self.layers)))
        if not bool(loss.isfinite()):
            names = ", ".join(f"{code} {name}" for code, name in pairs.names[:8])
            raise ModelError(
                f"the alignment loss is {loss.item()} at step {step}, micro-step {micro_step}, on the pairs "
                f"{names}{' …' if len(pairs.names) > 8 else ''}; the states of block {min(self.layers)} or "
                "above are not finite: lower the learning rate or the weight, or train in float32 or bfloat16"
            )
        if not loss.requires_grad:
            raise ModelError(
                "the alignment loss has no gradient: nothing trainable lies below its layers now, or it was "
                "asked for under torch.no_grad()"
            )
        self.last = AlignmentStep(loss.detach(), seen, [code for code, _ in pairs.names], replay_loss)
        return total + config.weight * loss

    def _compare(self, pairs: PairBatch, states: States, zero: Tensor) -> tuple[Tensor, InBatch]:
        config, n = self.config, len(pairs.names)
        loss, seen = zero, []
        for weight, values in zip(self.layers.values(), states, strict=True):
            language, pivot = values[:n], values[n:]
            same = pairs.same.to(values.device)
            is_centred = config.centre and config.loss != "cosine"
            groups = pairs.languages.to(values.device) if is_centred else None
            if config.loss == "cosine":
                pull = cosine(language, pivot, detach_pivot=config.detach_pivot)
            else:
                compare = neuron_state if config.loss == "neuron_state" else contrastive
                pull = compare(
                    language,
                    pivot,
                    temperature=config.temperature,  # type: ignore[arg-type]
                    direction=config.direction,  # type: ignore[arg-type]
                    languages=groups,
                    same=same,
                    detach_pivot=config.detach_pivot,
                    gather=config.gather,
                )
            loss = loss + weight * pull.to(zero.device)
            seen.append(in_batch(language, pivot, languages=groups, same=same))
        return loss, InBatch(
            *(
                torch.stack([getattr(one, name).to(zero.device) for one in seen]).mean(dim=0)
                for name in ("accuracy", "positive", "negative")
            )
        )

    # What cannot be trained with.

    def _refuse_reentrant(self) -> None:
        for module in self.model.modules():
            run_again = getattr(module, "_gradient_checkpointing_func", None)
            if getattr(module, "gradient_checkpointing", False) and getattr(run_again, "keywords", {}).get(
                "use_reentrant"
            ):
                raise ModelError(
                    "the model uses reentrant gradient checkpointing, inside which states have no gradient, "
                    "so that the alignment loss would silently do nothing; pass "
                    "gradient_checkpointing_kwargs={'use_reentrant': False}"
                )

    def _refuse_too_small_groups(self) -> None:
        config = self.config
        smallest = config.batch_size // self._stream.languages_per_batch
        if config.centre and config.loss != "cosine" and smallest < 2:
            raise ArgumentError(
                f"batch_size={config.batch_size} over {self._stream.languages_per_batch} languages leaves "
                "one pair of some, and centre=True takes their mean away: raise batch_size, lower "
                "languages_per_batch, or pass centre=False"
            )


def _reaches(values: Tensor, parameters: list[nn.Parameter]) -> bool:
    """Whether a gradient gets from some values to a parameter; inputs made to require grad are none."""
    if not values.requires_grad or not parameters:
        return False
    found = torch.autograd.grad(values.sum(), parameters, allow_unused=True, retain_graph=True)
    return any(gradient is not None for gradient in found)


def _loaded(pairs: ParallelPairs | str | Path, pivot: str) -> ParallelPairs:
    return pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs, pivot=pivot)
