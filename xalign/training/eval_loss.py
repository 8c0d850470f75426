"""`EvalLoss`: the alignment loss of pairs that are not trained on, the same batches every time."""

from torch import nn

from xalign.losses.loss import Loss
from xalign.model.distributed import is_sharded, reshard
from xalign.model.inputs import Inputs
from xalign.model.observe import observing
from xalign.pairs.parallel import ParallelPairs
from xalign.training.config import AlignmentConfig
from xalign.training.draw import Rows
from xalign.training.epochs import Epochs
from xalign.training.guards.start import Start
from xalign.training.pair_forward import PairForward
from xalign.training.pair_loss import compare
from xalign.training.pair_stream import PairStream


class EvalLoss:
    """The mean alignment loss of some pairs, each of which is run once.

    They come in batches like those of training, because a loss with negatives depends on its batch. The
    batches are the same at each evaluation, and in every process.

    Args:
        pairs: The pairs.
        inputs: What the model takes.
        config: The options of the loss.
        loss: The loss.

    Raises:
        PairsError: `partners="any"` with languages that do not all translate the same sentences.
    """

    def __init__(
        self, pairs: ParallelPairs, inputs: Inputs, config: AlignmentConfig, loss: Loss, count: int
    ) -> None:
        self._config, self._loss = config, loss
        count = max(1, min(count, len(pairs), config.batch_size // 2))
        self._stream = PairStream(
            pairs,
            inputs,
            config.text_options,
            batch_size=config.batch_size,
            languages_per_batch=count,
            epochs=1,
            any_partner=config.partners == "any",
            seed=config.seed,
        )
        epochs = Epochs(pairs.counts, max(1, config.batch_size // count), config.seed)
        parts, n_batches = epochs.parts(0, epochs.n_parts), -(-epochs.n_parts // count)
        bounds = [number * len(parts) // n_batches for number in range(n_batches + 1)]
        self._rows: list[Rows] = [
            [(code, row) for code, rows in parts[first:last] for row in rows]
            for first, last in zip(bounds, bounds[1:], strict=False)
        ]

    def __call__(
        self, model: nn.Module, forward: PairForward, layers: dict[int, float], start: Start | None
    ) -> float:
        """Compute the mean loss per pair. The model is left as it was.

        Args:
            model: The model as it is wrapped now.
            forward: Runs the pairs.
            layers: Block -> weight.
            start: The model before training, for a loss that asks for it.
        """
        total = 0.0
        with observing(model):
            for number, rows in enumerate(self._rows):
                pairs = self._stream.batch(rows, self._stream.partner(number))
                was = forward.of_start(start, model, pairs, list(layers)) if start else None
                states = forward.of_pairs(model, pairs, list(layers))
                value, _ = compare(self._loss, self._config, states, pairs, layers.values(), was)
                total += value.item() * len(rows)
        if is_sharded(model):
            reshard(model)
        return total / sum(map(len, self._rows))
