"""What the intervals of a report resample: documents if the text names them, else sentences."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jaxtyping import Shaped
from numpy import ndarray

from xalign.metrics.scale import Scale
from xalign.pairs.parallel import count_range
from xalign.results.scores import interval_of_layer
from xalign.statistics.documents import Documents, documents_of
from xalign.statistics.intervals import Interval

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport


def resampled(report: "AlignmentReport", language: str | None = None) -> Documents | None:
    """Return the documents that the intervals of a language resample; None if they resample sentences.

    Args:
        report: The report.
        language: A language of it; None for the mean over all of them.
    """
    bitexts = report.pairs.values() if language is None else [report.pairs[language]]
    names = {bitext.documents for bitext in bitexts}
    return documents_of(names.pop()) if len(names) == 1 else None


def layer_intervals(
    report: "AlignmentReport", layers: Iterable[Shaped[ndarray, " pair"]], scale: Scale, language: str
) -> list[Interval]:
    """Return the 95 % interval of each layer's mean, from the values of a language at each layer."""
    documents = resampled(report, language)
    return [interval_of_layer(layer, scale, seed=report.seed, documents=documents) for layer in layers]


def over_what(counts: Sequence[tuple[int, int | None]]) -> str:
    """Return the words that say what intervals resample.

    Args:
        counts: Per language, the number of sentences, and of documents where these are resampled.

    Example:
        >>> over_what([(100, 31)]), over_what([(100, None), (80, None)])
        ('over 31 documents', 'over 80 to 100 sentences')
        >>> over_what([(100, 31), (80, None)])
        'over 31 documents, and of others over 80 sentences'
    """
    documents = [found for _, found in counts if found is not None]
    sentences = [n for n, found in counts if found is None]
    if not documents:
        return f"over {count_range(sentences)} sentences"
    others = f", and of others over {count_range(sentences)} sentences" if sentences else ""
    return f"over {count_range(documents)} documents{others}"
