"""`AlignmentObjective`: an alignment loss for any training loop."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from xalign.checks import whole_number
from xalign.control.decision import Schedule
from xalign.errors import ArgumentError
from xalign.losses.similarity import InBatch
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.distributed import refuse_split
from xalign.model.inputs_for import Processing, inputs_for
from xalign.model.placement import device_of
from xalign.model.wrapped import unwrapped
from xalign.pairs.parallel import ParallelPairs
from xalign.training.alignment_step import AlignmentStep
from xalign.training.calls import Calls
from xalign.training.config import AlignmentConfig
from xalign.training.eval_loss import EvalLoss
from xalign.training.given import Pairs, config_of, loaded_pairs, training_pairs
from xalign.training.guards.guards import Found, Guards
from xalign.training.layers import AUTO, blocks_of, choose_layer, metric_of, parse_layers
from xalign.training.pair_batch import PairBatch
from xalign.training.pair_forward import PairForward
from xalign.training.pair_loss import check_value, compare, is_centred
from xalign.training.pair_stream import PairStream
from xalign.training.probe import refuse_blind_first_token, refuse_without_effect
from xalign.training.refusals import (
    refuse_no_adapter,
    refuse_no_language_model,
    refuse_overlap,
    refuse_reentrant,
    refuse_small_groups,
)
from xalign.training.replay import Replay, replayed
from xalign.training.word_links import links_of


class AlignmentObjective:
    """An alignment loss on parallel sentences, ready to be added to any loss.

    A call draws pairs, runs both sides through the model in one forward pass that ends after the last block
    needed, and compares the states. Mistakes are reported when the objective is built.

    Args:
        model: The model being trained; plain, PEFT, quantised, DDP, FSDP2 or compiled.
        tokenizer: Its tokenizer.
        pairs: Training pairs, or what `load_pairs` takes; those of `config` if None.
        held_out: Pairs to measure on, in addition to those of `config`. `layer="auto"` measures them, and
            they may not share a sentence with `pairs`.
        config: All options at once; or pass its fields as keywords.
        **options: The fields of `AlignmentConfig`.

    Attributes:
        config: The options.
        layers: Block -> weight, summing to 1; empty until `"auto"` has chosen.
        schedule: The decisions for each step; without any, it aligns and replays at every step.
        reason: Why `"auto"` chose its layer.
        is_active: Whether a call has a loss; with weight 0 and neither replay nor guards it has none.
        last: What the last call saw.

    Raises:
        ArgumentError: A bad option, a layer that does not exist, `"auto"` without held-out pairs, a sentence
            longer than the context.
        PairsError: Too few pairs of a language, or pairs that are measured on too.
        ModelError: Nothing to train below the layer, reentrant checkpointing, FSDP1, DataParallel, ZeRO-3, an
            unknown architecture, or replay on a model that is not a causal language model.

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
        tokenizer: Processing,
        pairs: Pairs | None = None,
        *,
        held_out: Pairs | None = None,
        config: AlignmentConfig | None = None,
        **options: Any,
    ) -> None:
        self.config = config = config_of(config, options)
        self.pairs = training_pairs(pairs, config)
        n_layers = map_model(model).n_layers
        self.model, self._inputs = model, inputs_for(model, tokenizer, self.pairs.is_audio)
        self.held_out: list[ParallelPairs] = []
        self._loss = config.resolved_loss
        self._stream = self._make_stream()
        self._forward = self._make_forward()
        self._replay = self._make_replay()
        self._guards = Guards(config, self._loss, model)
        self._eval_loss = self._make_eval_loss()
        self.layers: dict[int, float] = {}
        self.reason: str | None = None
        self.schedule = Schedule()
        self.last: AlignmentStep | None = None
        for source in (held_out, config.held_out):
            if source is not None:
                self.hold_out(loaded_pairs(source, config))
        layers = parse_layers(config.layer)
        if layers == AUTO:
            self.choose_layer()
        else:
            self.layers = blocks_of(layers, n_layers)
        self.probe()

    def _make_stream(self) -> PairStream:
        config = self.config
        stream = PairStream(
            self.pairs,
            self._inputs,
            config.text_options,
            batch_size=config.batch_size,
            languages_per_batch=config.languages_per_batch,
            language_temperature=config.language_temperature,
            epochs=config.epochs,
            any_partner=config.partners == "any",
            links=links_of(config.links, self.pairs) if self._loss.needs_links else None,
            seed=config.seed,
        )
        transform = config.resolved_transform
        if is_centred(self._loss, config) or (transform is not None and transform.needs_groups):
            refuse_small_groups(config.batch_size, stream.languages_per_batch)
        return stream

    def _make_forward(self) -> PairForward:
        config = self.config
        if config.frozen_pivot:
            refuse_no_adapter(self.model)
        return PairForward(
            self._inputs,
            kind=config.kind or self._loss.kinds[0],
            state=self._loss.state,
            pool=config.pool,
            size=None if config.chunk_size is None else 2 * config.chunk_size,
            alternate=config.mode == "alternate",
            frozen_pivot=config.frozen_pivot,
        )

    def _make_replay(self) -> Replay | None:
        config = self.config
        if config.replay is None or not (config.replay_weight or config.kl):
            return None
        refuse_no_language_model(self.model)
        return Replay(config.replay, self._inputs, batch_size=config.replay_batch_size, seed=config.seed)

    def _make_eval_loss(self) -> EvalLoss | None:
        config = self.config
        if config.eval_pairs is None:
            return None
        pairs = loaded_pairs(config.eval_pairs, config)
        if (pairs.pivot, pairs.is_audio) != (self.pairs.pivot, self.pairs.is_audio):
            raise ArgumentError(
                f"eval_pairs={pairs!r:.60} must have the pivot {self.pairs.pivot} and be spoken or written "
                "as the training pairs are"
            )
        refuse_overlap(self.pairs, pairs)
        return EvalLoss(pairs, self._inputs, config, self._loss, self._stream.languages_per_batch)

    @property
    def inputs(self) -> Any:
        """What the model takes: `Inputs` of its tokenizer, or `AudioInputs` of its feature extractor."""
        return self._inputs

    # What is held out from training, and what is chosen by it.

    def hold_out(self, pairs: ParallelPairs) -> None:
        """Add pairs to measure on; they may not share a sentence with the training pairs.

        Args:
            pairs: The pairs.

        Raises:
            PairsError: A sentence that is trained on too.
        """
        refuse_overlap(self.pairs, pairs)
        self.held_out.append(pairs)

    def choose_layer(self) -> None:
        """Choose the layer of `layer="auto"` by measuring the held-out pairs added so far.

        Raises:
            ArgumentError: No held-out pairs.
        """
        if not self.held_out:
            raise ArgumentError(
                f"layer={AUTO!r} is settled by measuring: give held_out=, pairs that are not trained on"
            )
        held_out = [
            pairs.only([code for code in pairs if code in self.pairs])
            for pairs in self.held_out
            if set(pairs) & set(self.pairs)
        ]
        if not held_out:
            raise ArgumentError(
                f"layer={AUTO!r}: held_out has none of the languages trained on, {', '.join(self.pairs)}"
            )
        metric = metric_of(self._forward.kind)
        tokenizer, options = self._inputs.tokenizer, self.config.measure_options
        block, self.reason = choose_layer(self.model, tokenizer, held_out, metric, options)
        self.layers = {block: 1.0}

    def probe(self) -> None:
        """Run one short sentence, to find out now whether a gradient will reach the model.

        Raises:
            ModelError: A layer below which nothing is trained, or a set-up that is not supported.
        """
        refuse_split(self.model, learning=True)
        refuse_reentrant(self.model)
        self._guards.refuse_sharded(self.model)
        lines = self._stream.draw(0).pivot_lines
        shortest = min(lines, key=lambda line: self._inputs.batches([line])[0].shape[1])
        names_layers = parse_layers(self.config.layer) != "all"
        refuse_without_effect(self.model, self._forward, shortest, list(self.layers), names_layers)
        if self.config.pool == "first" and not self.pairs.is_audio:
            longest = max(lines, key=lambda line: sum(line[1]))
            refuse_blind_first_token(self.model, self._forward, longest, list(self.layers))

    # One micro-batch.

    @property
    def is_active(self) -> bool:
        """Whether a call has a loss."""
        return bool(self.config.weight) or self._replay is not None or self._guards.is_on

    @property
    def calls(self) -> Calls:
        """How often a step calls the objective, which `epochs` must know: a `Calls`; by default 1 call."""
        return self._stream.calls

    @calls.setter
    def calls(self, calls: Calls) -> None:
        self._stream.calls = calls

    @property
    def n_calls(self) -> int | None:
        """How many calls each process makes in the config's `epochs`; None if they have no end."""
        return self._stream.n_calls

    def has_ended(self, step: int, micro_step: int = 0) -> bool:
        """Return whether the config's `epochs` are over, so that a call compares no pairs."""
        return self._stream.has_ended(step, micro_step)

    def eval_loss(self, *, model: nn.Module | None = None) -> float:
        """Compute the alignment loss of the config's `eval_pairs`, without its weight.

        The model is left as it was.

        Raises:
            ArgumentError: No `eval_pairs`.
        """
        if self._eval_loss is None:
            raise ArgumentError("eval_loss is of eval_pairs: give pairs that are not trained on")
        start = self._guards.start if self._loss.needs_start else None
        return self._eval_loss(self.model if model is None else model, self._forward, self.layers, start)

    def pairs_of(self, step: int, micro_step: int = 0, rank: int = 0) -> list[tuple[str, int]]:
        """Return the language and the row of each pair that a call with these arguments compares."""
        return self._stream.rows(step, micro_step, rank, self.schedule.at(step).shares)

    def __call__(
        self, step: int, micro_step: int = 0, *, model: nn.Module | None = None
    ) -> Float[Tensor, ""]:
        """Compute the weighted loss of one micro-batch of pairs, plus that of replayed text and of guards.

        The same arguments and the same decision in `schedule` give the same pairs, whatever happened before.
        With weight 0, at steps at which nothing is to be aligned, and when all epochs are over, no pairs are
        run.

        Args:
            step: The number of optimizer steps done.
            micro_step: The index of the micro-batch within its step.
            model: The model as it is wrapped now, where that is not the one given at first.

        Raises:
            ArgumentTypeError: A loss of your own that returns anything but one number.
            ArgumentError: A loss of your own that is not finite on finite states, or that detaches them.
            ModelError: States that are not finite, with the names of their pairs; or a loss without a
                gradient.
        """
        step, micro_step = whole_number("step", step), whole_number("micro_step", micro_step)
        config, model = self.config, self.model if model is None else model
        decision, place = self.schedule.at(step), f"step {step}, micro-step {micro_step}"
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        total = torch.zeros((), device=device_of(model))
        found = self._guards.of_weights(model)
        replay_loss = None
        if self._replay is not None and decision.replays_at(step):
            documents = self._replay.draw(step, micro_step, rank, total.device)
            replay_loss, logits = replayed(unwrapped(model), documents)
            found |= self._guards.of_documents(model, documents, logits)
            total = total + config.replay_weight * replay_loss
            replay_loss = replay_loss.detach()
        loss, seen, codes = None, None, []
        if self._compares_pairs and decision.aligns_at(step) and not self.has_ended(step, micro_step):
            pairs = self._stream.draw(step, micro_step, rank, decision.shares)
            loss, seen, drift = self._compare(model, pairs, decision.layers or self.layers, place)
            found |= drift
            codes = [code for code, _ in pairs.names]
        if found:
            total = total + self._guards.total(found, place)
        said = {name: value.detach() for name, value in found.items()}
        detached = None if loss is None else loss.detach()
        self.last = AlignmentStep(detached, seen, codes, replay_loss, said)
        return total if loss is None else total + config.weight * decision.weight * loss

    @property
    def _compares_pairs(self) -> bool:
        return bool(self.config.weight or self.config.pivot_drift)

    def _compare(
        self, model: nn.Module, pairs: PairBatch, layers: Mapping[int, float], place: str
    ) -> tuple[Float[Tensor, ""], InBatch, Found]:
        """Return the loss of some pairs, what is logged of them, and what guards say of their pivots."""
        start, blocks, weights = None, list(layers), layers.values()
        if self._guards.start is not None and (self._loss.needs_start or self.config.pivot_drift):
            start = self._forward.of_start(self._guards.start, model, pairs, blocks)
        states = self._forward.of_pairs(model, pairs, blocks)
        loss, seen = compare(self._loss, self.config, states, pairs, weights, start)
        check_value(loss, self._loss, states, pairs, layers, place)
        return loss, seen, self._guards.of_pairs(states, start, weights)
