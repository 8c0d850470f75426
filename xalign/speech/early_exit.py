"""`early_exit`: what a speech model transcribes from each layer of its encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from xalign.errors import ArgumentError, ModelError
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.audio_inputs import AudioInputs
from xalign.model.batches import Batch
from xalign.model.inputs import TextOptions
from xalign.model.observe import observing
from xalign.model.visit import VisitFn, visit
from xalign.pairs.audio import Audio
from xalign.statistics.intervals import KnownInterval, bootstrap_interval, known_interval

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, eq=False)
class EarlyExit:
    """What was transcribed from each block of the encoder.

    Attributes:
        layers: The blocks.
        texts: Block -> the transcript of each recording.
        references: What was said.
    """

    layers: Sequence[int]
    texts: Mapping[int, Sequence[str]]
    references: Sequence[str]

    def errors(self, layer: int, *, unit: str = "character") -> np.ndarray:
        """Return the error rate of each recording: edits per character, or per `word`, of what was said.

        It may exceed 1, where more was written than was said. Case does not matter.

        Raises:
            ArgumentError: A layer that was not transcribed, or another unit.
        """
        if layer not in self.texts or unit not in ("character", "word"):
            known = f"blocks {list(self.layers)}, by character or word"
            raise ArgumentError(f"layer={layer!r}, unit={unit!r}: there are {known}")
        pairs = zip(self.texts[layer], self.references, strict=True)
        return np.array([error_rate(found, said, unit=unit) for found, said in pairs])

    def interval(self, layer: int, *, unit: str = "character", seed: int = 0) -> KnownInterval:
        """Return the 95 % interval of the mean error rate, over recordings."""
        return known_interval(*bootstrap_interval(self.errors(layer, unit=unit), seed=seed))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a dict per block: layer, cer and wer, each with `_low` and `_high`."""
        rows = []
        for layer in self.layers:
            row: dict[str, Any] = {"layer": layer}
            for name, unit in (("cer", "character"), ("wer", "word")):
                row[name] = float(self.errors(layer, unit=unit).mean())
                row[f"{name}_low"], row[f"{name}_high"] = self.interval(layer, unit=unit)
            rows.append(row)
        return rows

    def table(self) -> "Table":
        """Return a line per block, with the first transcript."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        from xalign.escape import cell

        table = Table(title="Transcribed from each block of the encoder", box=SIMPLE_HEAD, padding=0)
        for header in ("block", "CER", "WER", "the first recording"):
            table.add_column(header)
        for row in self.to_rows():
            first = cell(self.texts[row["layer"]][0][:60])
            table.add_row(str(row["layer"]), f"{row['cer']:.2f}", f"{row['wer']:.2f}", first)
        return table


def early_exit(
    model: nn.Module,
    processor: Any,
    recordings: Sequence[Audio],
    references: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    truncate: bool = False,
    **generation: Any,
) -> EarlyExit:
    """Transcribe recordings from each block of the encoder, with the model's own decoder.

    The blocks above are left out: their output is that of the block asked for, and the encoder's last norm
    and the decoder go on from there. The last block gives what the model itself transcribes.

    Args:
        model: An encoder–decoder that hears, such as Whisper.
        processor: Its processor, with feature extractor and tokenizer.
        recordings: The recordings, of one language.
        references: What is said in each.
        layers: The blocks to transcribe from; all of them where None.
        truncate: Cut recordings that are longer than the model takes.
        **generation: Arguments of `model.generate`, such as `language="de"`, `task="transcribe"` and
            `max_new_tokens`.

    Returns:
        The transcripts, with error rates per block.

    Raises:
        ArgumentError: Another number of references, or a block that there is not.
        ModelError: A model that has no encoder of its own or writes no text.

    Reference:
        Shim et al. (2025), arXiv 2505.19606.
    """
    if len(recordings) != len(references) or not recordings:
        raise ArgumentError(f"recordings has {len(recordings)} entries, and references {len(references)}")
    if not hasattr(model, "generate") or not hasattr(model, "get_encoder"):
        raise ModelError(f"{type(model).__name__} has no encoder and decoder that write text")
    encoder: nn.Module = model.get_encoder()  # type: ignore[operator]
    places = [site for site in map_model(encoder).sites("hidden") if isinstance(site.layer, int)]
    last = map_model(encoder).n_layers - 1
    chosen = [*range(last + 1)] if layers is None else list(layers)
    unknown = [layer for layer in chosen if not isinstance(layer, int) or not 0 <= layer <= last]
    if unknown or not chosen:
        raise ArgumentError(f"layers={list(chosen)!r:.60} must be blocks from 0 to {last}")
    inputs = AudioInputs(encoder, processor)
    encoded = inputs.encode(recordings, options=TextOptions(truncate=truncate))
    batches = inputs.batches(encoded.lines, size=1)
    blocks = {int(site.layer): site for site in places if isinstance(site.layer, int)}
    texts = {layer: [""] * len(recordings) for layer in chosen}
    with observing(model) as before:
        for layer in chosen:
            for batch in batches:
                text = _transcribed(model, encoder, processor, batch, _skipping(blocks, layer), generation)
                before.rewind()
                for row in batch.rows[0]:
                    texts[layer][row] = text
    return EarlyExit(chosen, texts, tuple(references))


def _skipping(blocks: Mapping[int, Site], layer: int) -> dict[Site, VisitFn]:
    """Return what keeps the output of a block, and puts it in place of that of every block above."""
    kept: list[Tensor] = []

    def keep(values: Tensor) -> None:
        kept[:] = [values]

    def replace(values: Tensor) -> Tensor:  # noqa: ARG001
        return kept[0].clone()

    above = {site: replace for place, site in blocks.items() if place > layer}
    return {blocks[layer]: keep, **above}


def _transcribed(
    model: nn.Module,
    encoder: nn.Module,
    processor: Any,
    batch: Batch,
    looking: Mapping[Site, VisitFn],
    generation: Mapping[str, Any],
) -> str:
    """Return what the model writes of one recording."""
    device = next(model.parameters()).device
    given = {name: values.to(device) for name, values in batch.inputs.items()}
    with visit(encoder, looking):
        ids = model.generate(**given, **generation)  # type: ignore[operator]
    tokenizer = getattr(processor, "tokenizer", processor)
    (text,) = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return str(text).strip()


def error_rate(found: str, said: str, *, unit: str = "character") -> float:
    """Return the edits from what was said to what was written, per character or word of what was said.

    Example:
        >>> error_rate("the cat", "The cats"), error_rate("a b", "a c d", unit="word")
        (0.125, 0.6666666666666666)
    """
    one, other = (
        list(text.lower()) if unit == "character" else text.lower().split() for text in (found, said)
    )
    if not other:
        raise ArgumentError("nothing was said: the reference is empty")
    row = list(range(len(other) + 1))
    for place, there in enumerate(one, start=1):
        last, row[0] = row[0], place
        for at, expected in enumerate(other, start=1):
            last, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, last + (there != expected))
    return row[-1] / len(other)
