"""`measure_sequences`: alignment of whole sequences of states, frame by frame, without pooling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xalign.checks import boolean, whole_number
from xalign.errors import ArgumentError
from xalign.languages import match_language
from xalign.metrics.retrieval import retrieval_chance, retrieval_from_pivot, retrieval_to_pivot
from xalign.metrics.seq_sim import seq_sim_matrix
from xalign.metrics.weak_alignment import weak_alignment, weak_alignment_chance
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Layer, Site
from xalign.model.inputs import TextOptions
from xalign.model.inputs_for import Processing, inputs_for
from xalign.model.read_tokens import Tokens, read_tokens
from xalign.pairs.parallel import ParallelPairs
from xalign.results.values import layer_name
from xalign.statistics.documents import documents_of
from xalign.statistics.intervals import share_interval

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]
_FUNCTIONS = {
    "seq_from_pivot": retrieval_from_pivot,
    "seq_to_pivot": retrieval_to_pivot,
    "seq_both": weak_alignment,
}


@dataclass(frozen=True, eq=False)
class Sequences:
    """How alike sequences of states are, and whether translations are found by it.

    Attributes:
        pairs: The pairs.
        layers: The layers measured.
        similarity: Language -> SeqSim of every pivot sentence with every sentence, per layer.
    """

    pairs: ParallelPairs[Any]
    layers: Sequence[Layer | str]
    similarity: Mapping[str, Float[Tensor, "layer pair pair"]]

    def bits(self, metric: str, language: str, layer: Layer | str) -> Bool[Tensor, " pair"]:
        """Return which pairs are found: `seq_from_pivot`, `seq_to_pivot`, or `seq_both`.

        Raises:
            ArgumentError: A metric, language or layer that is not there.
        """
        code = match_language(language, self.similarity)
        if metric not in _FUNCTIONS or code is None or layer not in self.layers:
            raise ArgumentError(
                f"metric={metric!r}, language={language!r}, layer={layer!r}: there are "
                f"{', '.join(_FUNCTIONS)}; {', '.join(self.similarity)}; {list(self.layers)}"
            )
        return _FUNCTIONS[metric](self.similarity[code][list(self.layers).index(layer)])

    def to_rows(self) -> list[Row]:
        """Return a dict per metric, language and layer: with value, low, high, n, documents and chance."""
        rows = []
        for metric in _FUNCTIONS:
            for code in self.similarity:
                n, documents = len(self.pairs[code]), documents_of(self.pairs[code].documents)
                chance = weak_alignment_chance(n) if metric == "seq_both" else retrieval_chance(n)
                for layer in self.layers:
                    bits = self.bits(metric, code, layer).double().numpy()
                    low, high = share_interval(bits, documents=documents)
                    about = {"metric": metric, "language": code, "layer": layer, "value": float(bits.mean())}
                    about |= {"low": low, "high": high, "n": n, "chance": chance}
                    rows.append(about | {"documents": None if documents is None else documents.count})
        return rows

    def table(self) -> "Table":
        """Return a line per metric and language, a column per layer."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        n = next(iter(self.pairs.counts.values()))
        one, both = retrieval_chance(n), weak_alignment_chance(n)
        caption = f"share of pairs; chance {one:.3f} one way, {both:.3f} both"
        table = Table(title="Translations found by SeqSim", caption=caption, box=SIMPLE_HEAD, padding=0)
        for header in ("metric", "language", *map(str, self.layers)):
            table.add_column(header, no_wrap=True)
        for metric in _FUNCTIONS:
            for code in self.similarity:
                shares = [self.bits(metric, code, layer).double().mean() for layer in self.layers]
                table.add_row(metric, code, *(f"{share:.2f}" for share in shares))
        return table


@takes_layout
def measure_sequences(
    model: nn.Module,
    tokenizer: Processing,
    pairs: ParallelPairs[Any],
    *,
    f_measure: bool = False,
    truncate: bool = False,
    token_budget: int = 4096,
) -> Sequences:
    """Measure whether translations are found by the likeness of their states, frame by frame.

    Every frame (of speech) or token (of text) is matched with its nearest one on the other side, and the
    cosines of the matches are averaged, both ways. Nothing is pooled, so that no weighting of positions
    decides. All hidden states of the pivot and of one language are held at a time: 60 recordings of ten
    seconds in Whisper base take 2 × 430 MB.

    Args:
        model: A model, or the encoder of a speech model.
        tokenizer: Its tokenizer; for recordings, its feature extractor or processor.
        pairs: Pairs with one list of pivot sentences, written or spoken.
        f_measure: Take the harmonic mean of both ways, as BERTScore does.
        truncate: Cut sentences that are longer than the model takes.
        token_budget: The most frames or tokens of a forward.

    Returns:
        The similarities, with retrieval from and to the pivot, and both at once.

    Raises:
        ArgumentError: Pairs that do not share their pivot sentences.
        ModelError: As `measure`.

    Reference:
        Shim et al. (2025), arXiv 2505.19606.

    Example:
        >>> found = measure_sequences(model, tokenizer, pairs)
        >>> found.bits("seq_both", "de", "final").shape
        torch.Size([10])
    """
    if not pairs.is_multiway:
        raise ArgumentError("pairs have other pivot sentences for each language; measure them one by one")
    f_measure, truncate = boolean("f_measure", f_measure), boolean("truncate", truncate)
    token_budget = whole_number("token_budget", token_budget, least=1)
    inputs = inputs_for(model, tokenizer, pairs.is_audio)
    model_map = map_model(model)
    stack = model_map.stacks[0]
    sites = [site for site in model_map.sites("hidden") if site.stack == stack]

    def read(sentences: Sequence[Any], language: str) -> dict[Site, Tokens]:
        encoded = inputs.encode(sentences, language, TextOptions(truncate=truncate))
        return read_tokens(model, inputs.batches(encoded.lines, token_budget=token_budget), sites)

    pivot = read(next(iter(pairs.values())).pivot_sentences, pairs.pivot)
    found = {}
    for code, bitext in pairs.items():
        own = read(bitext.sentences, code)
        layers = [seq_sim_matrix(pivot[site], own[site], f_measure=f_measure) for site in sites]
        found[code] = torch.stack(layers)
    return Sequences(pairs, [layer_name(site) for site in sites], found)
