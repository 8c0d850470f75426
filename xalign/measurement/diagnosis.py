"""`diagnose`: what a measurement of a model will read, refuse and cost, before anything is spent."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from xalign.errors import ArgumentTypeError, XAlignError
from xalign.measurement.diagnosis_text import lines_of
from xalign.measurement.expected import Expected, expect
from xalign.measurement.facts import (
    ExtractorFacts,
    LanguageFacts,
    ModelFacts,
    Refusal,
    TokenizerFacts,
    facts_of_extractor,
    facts_of_language,
    facts_of_model,
    facts_of_recordings,
    facts_of_tokenizer,
)
from xalign.measurement.options import MeasureOptions, ReadOptions, check_options, split_options
from xalign.measurement.prepare import PreparedPairs
from xalign.measurement.readings import options_of_stack, readings_of
from xalign.measurement.run import DEFAULT_METRICS, Measurement, Metrics
from xalign.metrics import METRICS
from xalign.metrics.metric import Metric, resolve_metrics
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.audio_inputs import AudioInputs
from xalign.model.distributed import is_sharded
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.inputs_for import Processing, inputs_for
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.results.unknown import is_unknown


@dataclass(frozen=True)
class Diagnosis:
    """What a measurement of a model will read, refuse and cost. `print` it, or call `to_dict`.

    Attributes:
        model: The model, with what is found in each of its blocks.
        tokenizer: Its tokenizer, or its feature extractor; None if it does not fit the model.
        languages: What the tokenizer makes of each language, the pivot first.
        pairs: Where the sentences come from.
        metrics: The metrics that were asked for.
        refusals: First what stops a measurement, then what else the user should know.
        expected: The time and memory to expect; None if a measurement is refused, and for sharded models.
    """

    model: ModelFacts
    tokenizer: TokenizerFacts | ExtractorFacts | None
    languages: dict[str, LanguageFacts]
    pairs: str
    metrics: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    expected: Expected | None

    @property
    def is_measurable(self) -> bool:
        """Whether `measure` would run."""
        return not any(refusal.stops for refusal in self.refusals)

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis as dicts, lists, text and numbers, as `xalign doctor --json` prints it."""
        found = {"is_measurable": self.is_measurable, **asdict(self)}
        if self.expected is not None:
            memory = self.expected.memory
            found["expected"]["memory"] |= {"on_device": memory.on_device, "in_main": memory.in_main}
        return found

    def __str__(self) -> str:
        """Describe it for a terminal of 80 columns."""
        return "\n".join(
            lines_of(
                *(self.model, self.tokenizer, self.languages, self.pairs, self.metrics),
                refusals=self.refusals,
                expected=self.expected,
            )
        )


def diagnose(
    model: nn.Module,
    tokenizer: Processing,
    pairs: ParallelPairs | str | Path = "bundled",
    metrics: Metrics = DEFAULT_METRICS,
    **options: Unpack[MeasureOptions],
) -> Diagnosis:
    """Report what `measure` would do with the same arguments, without doing it.

    Only a few sentences and one batch are run. The model is left as it was, and nothing is written.

    Args:
        model: A transformers model, wrapped or not.
        tokenizer: Its tokenizer; for recordings, its feature extractor or its processor.
        pairs: Parallel sentences, or what `load_pairs` takes.
        metrics: As in `measure`.
        **options: The options of `measure`.

    Returns:
        What was found in the model, how the text is tokenized, what is refused and how to fix it, and the
        time and the memory to expect.

    Raises:
        ArgumentError: Unknown metrics, or a bad option.
        ArgumentTypeError: A model, tokenizer or pairs of another type.
        PairsError: Text that cannot be loaded.

    Example:
        >>> found = diagnose(model, tokenizer, "bundled", ["nasca"])
        >>> found.is_measurable, found.model.stacks[0].blocks[0].widths["inner"]
        (True, (64,))
    """
    check_options(diagnose, options)
    text, read, _ = split_options(options)
    if not isinstance(pairs, ParallelPairs | str | Path):
        raise ArgumentTypeError(f"pairs={pairs!r:.60} must be ParallelPairs, or what load_pairs takes")
    loaded = pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs)
    return _diagnosis(model, tokenizer, loaded, resolve_metrics(metrics, METRICS), (text, read), options)


def _diagnosis(
    model: nn.Module,
    tokenizer: Processing,
    loaded: ParallelPairs,
    wanted: Sequence[Metric],
    split: tuple[TextOptions, ReadOptions],
    options: MeasureOptions,
) -> Diagnosis:
    """Look at model, tokenizer and text in turn, and gather what is refused."""
    (text, read), refusals = split, _Refusals()
    model_map, inputs = None, None
    with refusals.of("model"):
        model_map = map_model(model)
    with refusals.of("tokenizer"):
        inputs = inputs_for(model, tokenizer, loaded.is_audio)
    if model_map is not None:
        with refusals.of("stack"):
            text, read = options_of_stack(model, model_map, text, read)
    languages = {} if inputs is None else _languages(inputs, loaded, text, refusals)
    if model_map is not None:
        _check_metrics(model_map, wanted, read, refusals)
    expected = None
    if model_map is not None and inputs is not None:
        with refusals.of("sentences"):
            prepared = PreparedPairs(loaded, inputs, text, read.token_budget)
        if not refusals.stop:
            with refusals.of("measurement"):
                Measurement(model, tokenizer, loaded, wanted, **options).probe()
                expected = _expected(model, model_map, prepared, wanted, read)
    return Diagnosis(
        facts_of_model(model, model_map),
        _facts_of_processing(inputs),
        languages,
        str(loaded.source),
        tuple(metric.name for metric in wanted),
        tuple(sorted(refusals.found, key=lambda one: not one.stops)),
        expected,
    )


def _facts_of_processing(inputs: Inputs | AudioInputs | None) -> TokenizerFacts | ExtractorFacts | None:
    if inputs is None:
        return None
    if isinstance(inputs, AudioInputs):
        return facts_of_extractor(inputs)
    return facts_of_tokenizer(inputs.tokenizer, inputs)


class _Refusals:
    """Gathers errors, and warnings beside them."""

    def __init__(self) -> None:
        self.found: list[Refusal] = []

    @property
    def stop(self) -> bool:
        """Whether there is one that stops a measurement."""
        return any(refusal.stops for refusal in self.found)

    @contextmanager
    def of(self, what: str, remedy: str = "") -> Iterator[None]:
        """Take an error of the block inside, and its warnings, as refusals."""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            try:
                yield
            except XAlignError as error:
                self.add(what, str(error), remedy)
        for one in warned:
            if issubclass(one.category, UserWarning):
                self.add(what, str(one.message), stops=False)

    def add(self, what: str, reason: str, remedy: str = "", *, stops: bool = True) -> None:
        """Add what was not said already."""
        if reason not in [refusal.reason for refusal in self.found]:
            self.found.append(Refusal(what, reason, remedy, stops))


def _languages(
    inputs: Inputs | AudioInputs, pairs: ParallelPairs[Any], options: TextOptions, refusals: _Refusals
) -> dict[str, LanguageFacts]:
    """Return the facts of each language, the pivot's first, and note what is refused of its sentences."""
    sides = {pairs.pivot: [one for bitext in pairs.values() for one in bitext.pivot_sentences]}
    sides[pairs.pivot] = list(dict.fromkeys(sides[pairs.pivot]))
    sides |= {code: list(bitext.sentences) for code, bitext in pairs.items()}
    found = {}
    limit = min((one for one in (inputs.context, options.max_length) if one is not None), default=None)
    for code, sentences in sides.items():
        with refusals.of(code):
            if isinstance(inputs, AudioInputs):
                found[code] = facts_of_recordings(inputs, code, sentences, options)
                continue
            found[code], lengths = facts_of_language(inputs, code, sentences, options)
            too_long = 0 if limit is None else sum(length > limit for length in lengths)
            if too_long and (options.truncate or options.max_length is not None):
                reason = f"{too_long} sentence(s) are cut to {limit} tokens"
                refusals.add(code, f"{reason}; the longest in {code} has {max(lengths)}", stops=False)
            inputs.encode(sentences, code, options)
        _note_language(code, found.get(code), pairs, refusals)
    return found


def _note_language(code: str, facts: LanguageFacts | None, pairs: ParallelPairs, refusals: _Refusals) -> None:
    """Note what a measurement takes and its reader should know."""
    if facts is not None and is_unknown(facts.unknown_share):
        reason = f"{facts.unknown_share:.0%} of the tokens in {code} are unknown, so its scores say nothing"
        refusals.add(code, reason, "leave it out, or take the tokenizer of the model", stops=False)
    count = pairs.duplicates.get(code, 0)
    if count and code != pairs.pivot:
        reason = f"{count} sentence(s) in {code} repeat an earlier one: equal states tie, and ties lose"
        refusals.add(code, reason, "pairs.without_duplicates()", stops=False)


def _check_metrics(
    model_map: ModelMap, metrics: Sequence[Metric], options: ReadOptions, refusals: _Refusals
) -> None:
    """Note the metrics that cannot read what they need, and which of them can."""
    refused: dict[str, list[str]] = {}
    for metric in metrics:
        try:
            readings_of(model_map, metric.reads, options)
        except XAlignError as error:
            refused.setdefault(str(error), []).append(metric.name)
    without = {name for names in refused.values() for name in names}
    able = [metric.name for metric in metrics if metric.name not in without]
    for reason, names in refused.items():
        remedy = f"metrics={able}" if able else "take metrics of hidden states: metrics=['mexa', 'retrieval']"
        refusals.add(f"metric {', '.join(names)}", reason, remedy)


def _expected(
    model: nn.Module,
    model_map: ModelMap,
    prepared: PreparedPairs,
    metrics: Sequence[Metric],
    options: ReadOptions,
) -> Expected | None:
    """Return what a measurement costs; None for a sharded model, which no process can run alone."""
    if is_sharded(model):
        return None
    readings = [reading for metric in metrics for reading in readings_of(model_map, metric.reads, options)]
    with_floor = any(metric.has_floor for metric in metrics)
    return expect(model, model_map, prepared, list(dict.fromkeys(readings)), with_floor=with_floor)
