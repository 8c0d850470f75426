"""A diagnosis as text for a terminal of 80 columns."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

from xalign.escape import plain
from xalign.measurement.expected import Expected
from xalign.measurement.facts import (
    BlockFacts,
    ExtractorFacts,
    LanguageFacts,
    ModelFacts,
    Refusal,
    StackFacts,
    TokenizerFacts,
)
from xalign.model.architectures.sites import KINDS

WIDTH, _INDENT = 79, 13
_TABLE = ("language", "sentences", "tokens", "per word", "longest", "unknown")


def lines_of(
    model: ModelFacts,
    tokenizer: TokenizerFacts | ExtractorFacts | None,
    languages: Mapping[str, LanguageFacts],
    source: str,
    metrics: Sequence[str],
    refusals: Sequence[Refusal],
    expected: Expected | None,
) -> Iterator[str]:
    """Yield the lines that describe a diagnosis. The arguments are the fields of `Diagnosis`."""
    yield from _model(model)
    is_audio = isinstance(tokenizer, ExtractorFacts)
    unit = "frames" if is_audio else "tokens"
    if isinstance(tokenizer, ExtractorFacts):
        yield from _entry("extractor", _extractor(tokenizer))
    elif tokenizer is not None:
        yield from _entry("tokenizer", _tokenizer(tokenizer))
    if languages:
        pivot, *others = languages.values()
        counts = sorted({one.sentences for one in others})
        n = "–".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "no"
        listed = f"{n} pairs" + (f" from {source}" if source != "None" else "")
        yield from _entry("sentences", listed)
        yield from _table(languages, unit)
    for refusal in refusals:
        yield ""
        yield from _entry("refused" if refusal.stops else "note", f"{refusal.what}: {refusal.reason}")
        if refusal.remedy:
            yield from _entry("", f"remedy: {refusal.remedy}")
    yield ""
    if expected is not None:
        yield from _expected(expected, unit)
    named = ", ".join(metrics)
    stops = sum(refusal.stops for refusal in refusals)
    verdict = f"would be refused, for {stops} reason{'s' * (stops > 1)}" if stops else "would run"
    yield from _entry("measuring", f"{named}: {verdict}")


def _entry(label: str, text: str) -> Iterator[str]:
    """Yield a text as lines, with a label before the first of them."""
    for line in wrap(plain(text), WIDTH - _INDENT, break_on_hyphens=False) or [""]:
        yield f"{label:<{_INDENT}}{line}"
        label = ""


def _model(model: ModelFacts) -> Iterator[str]:
    architecture = f", architecture {model.architecture}" if model.architecture else ""
    yield from _entry("model", f"{model.class_name}{architecture}")
    dtypes = " and ".join(model.dtypes) or "no type"
    yield from _entry("", f"{_count(model.parameters)} parameters of {dtypes}, on {model.device}")
    for stack in model.stacks:
        name = f"{stack.name}: " if stack.name else ""
        neurons = f", {stack.neurons:,} neurons" if stack.neurons else ""
        yield from _entry("stack", f"{name}{stack.n_layers} blocks of width {stack.width}{neurons}")
        for block in stack.blocks:
            yield from _blocks(stack, block)
        if stack.not_run:
            yield from _entry("", f"text alone does not run {', '.join(stack.not_run)}")


def _blocks(stack: StackFacts, block: BlockFacts) -> Iterator[str]:
    """Yield what blocks in a row have: kinds, with their widths where these are not the stack's."""
    named = f"block {block.first}" if block.first == block.last else f"blocks {block.first} to {block.last}"
    found = []
    for kind in (kind for kind in KINDS if kind in block.widths):
        widths = block.widths[kind]
        count = block.experts.get(kind, 1)
        of_one = [f"{width // count:,}" for width in widths]
        shown = " + ".join(f"{count} × {width}" if 1 < count < widths[0] else width for width in of_one)
        shown = f"{count:,}" if count == widths[0] else shown
        found.append(kind if set(widths) == {stack.width} and len(widths) == 1 else f"{kind} {shown}")
    yield from _entry("", f"{named}: {', '.join(found) or 'no site'}")
    reasons: dict[str, list[str]] = {}
    for refused, reason in block.refused.items():
        reasons.setdefault(reason, []).append(refused)
    for reason, kinds in reasons.items():
        yield from _entry("", f"no {', '.join(kinds)}: {reason}")
    yield from _entry("", f"proved: {block.proved}" if block.proved else "known by its layout")


def _tokenizer(tokenizer: TokenizerFacts) -> str:
    embedded = "" if tokenizer.embedded is None else f" (the model embeds {tokenizer.embedded:,})"
    pad = (
        "no pad token (none is needed)" if tokenizer.pad_token is None else f"pads with {tokenizer.pad_token}"
    )
    context = "no limit of length" if tokenizer.context is None else f"at most {tokenizer.context:,} tokens"
    marks = "marks sentences with their language" if tokenizer.marks_languages else "marks no languages"
    return (
        f"{tokenizer.class_name}, {tokenizer.ids:,} ids{embedded}; {pad} on the {tokenizer.padding_side}; "
        f"{context}; {marks}"
    )


def _extractor(extractor: ExtractorFacts) -> str:
    limit = (
        "no limit of length" if extractor.seconds is None else f"at most {extractor.seconds:g} s a recording"
    )
    return f"{extractor.class_name}, {extractor.rate:,} samples a second; {limit}"


def _table(languages: Mapping[str, LanguageFacts], unit: str) -> Iterator[str]:
    """Yield a line per language, under a line of headers."""
    longest = min(max(map(len, (*languages, _TABLE[0]))), WIDTH - 56)
    yield f"  {_TABLE[0]:<{longest}}" + "".join(
        f"{unit if header == 'tokens' else header:>11}" for header in _TABLE[1:]
    )
    for code, facts in languages.items():
        cells = (
            f"{facts.sentences:,}",
            f"{facts.tokens_per_sentence:.1f}",
            "–" if facts.tokens_per_word is None else f"{facts.tokens_per_word:.2f}",
            f"{facts.longest:,}",
            f"{facts.unknown_share:.1%}",
        )
        yield f"  {plain(code):<{longest}.{longest}}" + "".join(f"{cell:>11}" for cell in cells)


def _expected(expected: Expected, unit: str) -> Iterator[str]:
    memory = expected.memory
    yield from _entry(
        "expected",
        f"{expected.forwards} forwards, {expected.tokens:,} {unit}: about {_time(expected.seconds)}",
    )
    lines, tokens = expected.largest
    working = memory.on_device - memory.weights
    text = f"{_size(memory.on_device)}: weights {_size(memory.weights)}, and {_size(working)} while measuring"
    yield from _entry("", f"{text} (the largest forward has {lines} × {tokens} {unit})")
    if memory.in_main:
        yield from _entry("", f"{_size(memory.in_main)} of main memory")


def _count(number: int) -> str:
    for size, name in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:,}"


def _size(size: int) -> str:
    """Return bytes as people say them.

    Example:
        >>> _size(471_000_000), _size(2_000_000_000)
        ('471 MB', '2.0 GB')
    """
    if size >= 10**9:
        return f"{size / 10**9:.1f} GB"
    return f"{size / 10**6:.0f} MB" if size >= 10**7 else f"{size / 10**6:.1f} MB"


def _time(seconds: float) -> str:
    if seconds < 1:
        return "1 s"
    if seconds < 120:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"  # noqa: PLR2004
