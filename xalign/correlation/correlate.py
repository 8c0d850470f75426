"""`correlate`: whether alignment correlates with downstream scores."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from xalign.checks import positive, whole_number
from xalign.correlation.aligned import Source, read_aligned
from xalign.correlation.correlation import Correlation
from xalign.correlation.join import Point, join
from xalign.correlation.outcome import LeftOut
from xalign.correlation.read_results import Results, read_results
from xalign.errors import ArgumentError
from xalign.languages import normalize_language
from xalign.results.history import History
from xalign.results.report import AlignmentReport
from xalign.results.scores import Over
from xalign.statistics.correlations import FEWEST, Resample, drawn_times

_SHOWN = 5  # of what was left out, in an error


def correlate(
    reports: Source | Sequence[Source],
    results: str | Path | Results,
    *,
    over: Over = "mean",
    score: str | None = None,
    tasks: Mapping[str, str] | None = None,
    data_sizes: Mapping[str, float] | None = None,
    resample: Resample = "both",
    seed: int = 0,
) -> Correlation:
    """Correlate alignment with downstream scores, over languages, checkpoints and models.

    A point is a model (or a checkpoint), a language and a benchmark. The predictors are every alignment
    metric of the reports, the lexical floor, the share of words that both sides share, and every other
    numeric column of a results table, such as the loss of the language.

    Args:
        reports: Reports, histories of runs, or their folders; one, a list, or a folder that holds several.
        results: Downstream scores, as `read_results` takes them.
        over: `"mean"` of the layers, or `"max"`: the best layer.
        score: The score to use if a task has several.
        tasks: Task name -> language, for tasks whose name does not tell it.
        data_sizes: Language -> how much data of it the models have seen, in any unit. Then partial
            correlations hold the logarithm of it fixed.
        resample: What the intervals resample: `"models"`, `"languages"` or `"both"`.
        seed: The seed of the intervals.

    Returns:
        The correlations, the points they are computed from, and what was left out.

    Raises:
        ArgumentError: Fewer than four points, two scores for one point, an unknown option, or a broken file.

    Reference:
        Huang et al. (2025), NeuronXA, and Kargaran et al. (2025), MEXA, for the question; Owen (2007) for
        intervals over models and languages.

    Example:
        >>> pairs = load_pairs("bundled", n=10)
        >>> report = measure(model, tokenizer, pairs, ["mexa"])
        >>> lines = ["language,score", "de,.5", "fr,.6", "es,.7", "ru,.4", "zh,.6"]
        >>> _ = Path("scores.csv").write_text(chr(10).join(lines))
        >>> found = correlate(report, "scores.csv")
        >>> found.to_rows()[0]["points"], [(one.what, one.reason) for one in found.left_out]
        (4, [('score', 'fra_Latn was not measured')])
    """
    drawn_times("ab", "ab", resample=resample, draws=1)  # refuses an unknown way
    sources: Sequence[Source] = (
        [reports] if isinstance(reports, str | Path | AlignmentReport | History) else reports
    )
    sizes = {
        normalize_language(code): positive(f"data_sizes[{code!r}]", size)
        for code, size in (data_sizes or {}).items()
    }
    read = results if isinstance(results, Results) else read_results(results, score=score, tasks=tasks)
    points, unmatched = join(read_aligned(sources, over), read.outcomes, sizes)
    kept, left_out = _with_enough(points, [*read.left_out, *unmatched])
    return Correlation(kept, left_out, resample, whole_number("seed", seed))


def _with_enough(points: Sequence[Point], left_out: Sequence[LeftOut]) -> tuple[list[Point], list[LeftOut]]:
    """Leave out benchmarks with too few points, and refuse where none is left."""
    counts = Counter(point.benchmark for point in points)
    few = [name for name, count in counts.items() if count < FEWEST]
    why = [LeftOut(name, f"has {counts[name]} point(s); {FEWEST} are needed", "") for name in few]
    kept = [point for point in points if point.benchmark not in few]
    if not kept:
        raise ArgumentError(
            f"{len(points)} point(s) were joined, and no benchmark has {FEWEST}, which a correlation needs"
            f"{_said([*left_out, *why])}"
        )
    return kept, [*left_out, *why]


def _said(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return ""
    shown = "; ".join(f"{one.what}: {one.reason}" for one in left_out[:_SHOWN])
    more = f"; and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    return f". Left out: {shown}{more}"
