"""How a score changed between two reports, in words that its intervals bear out."""

from xalign.results.report import AlignmentReport


def change(before: AlignmentReport, after: AlignmentReport, metric: str) -> str:
    """Say how a score changed: "rose" or "fell" only where the two 95 % intervals do not overlap.

    Args:
        before: The earlier report.
        after: A later report of the same sentences.
        metric: A metric of both, for which higher is better.

    Example:
        >>> report = measure(model, tokenizer, pairs, ["nasca"])
        >>> change(report, report, "nasca").split(" (")[0]
        'did not rise beyond its 95 % interval'
    """
    was, now = before.score(metric), after.score(metric)
    was_low, was_high = before.interval(metric)
    now_low, now_high = after.interval(metric)
    if now_low is None or now_high is None or was_low is None or was_high is None:
        return f"went from {was:.3f} to {now:.3f}, with an interval that is not known"
    if now_low > was_high:
        return f"rose from {was:.3f} to {now:.3f}"
    if now_high < was_low:
        return f"fell from {was:.3f} to {now:.3f}"
    return f"did not rise beyond its 95 % interval ({was:.3f} before, {now:.3f} after)"
