"""Records of Every Eval Ever: a report as one JSON object, and a line per sentence beside it.

The form is that of https://github.com/evaleval/every_eval_ever, schema 0.3.0 of results and of instances.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args
from uuid import UUID

from xalign.checks import boolean
from xalign.errors import ArgumentError
from xalign.extras import own_version
from xalign.hub.repo_id import check_repo_id
from xalign.languages import language_name
from xalign.results.report import AlignmentReport

SCHEMA_VERSION = "0.3.0"
Relationship = Literal["first_party", "third_party", "collaborative", "other"]


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Who says what a report says, as a record must tell.

    Attributes:
        organization: The name of the organization or person that measured.
        relationship: How it stands to the makers of the model.

    Raises:
        ArgumentError: No name, or another relationship.
    """

    organization: str
    relationship: Relationship

    def __post_init__(self) -> None:
        """Refuse what no record may hold."""
        if not isinstance(self.organization, str) or not self.organization.strip():
            raise ArgumentError(f"organization={self.organization!r:.60} must name who measured")
        if self.relationship not in get_args(Relationship):
            raise ArgumentError(
                f"relationship={self.relationship!r:.60} must be one of {', '.join(get_args(Relationship))}"
            )


@dataclass(frozen=True, slots=True)
class Record:
    """A record: the object of the results, and the lines of the sentences.

    Attributes:
        results: The content of the record's JSON file, without the reference to the sentences' file.
        sentences: A dict per metric, language and sentence.
    """

    results: dict[str, Any]
    sentences: tuple[dict[str, Any], ...]

    def files(self) -> dict[str, bytes]:
        """Return both files: path -> content.

        The paths are those that the store of Every Eval Ever gives them. Their names follow from the content,
        so that the same report has the same.
        """
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in self.sentences).encode()
        scores = json.dumps([self.results["model_info"], self.results["evaluation_results"]], sort_keys=True)
        digest = hashlib.sha256(scores.encode()).digest()
        name = f"data/xalign/{self.results['model_info']['id']}/{UUID(bytes=digest[:16], version=4)}"
        beside = f"{name}_samples.jsonl"
        reference = {
            "format": "jsonl",
            "file_path": beside,
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(lines).hexdigest(),
            "total_rows": len(self.sentences),
        }
        whole = {**self.results, "detailed_evaluation_results": reference}
        text = json.dumps(whole, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        return {f"{name}.json": text.encode(), beside: lines}


def record_of(
    report: AlignmentReport,
    model_id: str,
    evaluator: Evaluator,
    *,
    with_text: bool = False,
    written: float | None = None,
) -> Record:
    """Return the record of a report, with the bits of every sentence.

    Metrics without bounds are left out: the form has no place for them.

    Args:
        report: The report.
        model_id: The model's id on the Hub, like `owner/name`.
        evaluator: Who measured.
        with_text: Put the sentences into the record. Otherwise a sentence is told by its id and a hash.
        written: When the record is written, in seconds since 1970; now where None.

    Raises:
        ArgumentError: A report none of whose metrics has bounds, or an id without an owner.

    Example:
        >>> record = record_of(report, "me/my-model", Evaluator("me", "first_party"))
        >>> record.results["evaluation_results"][0]["evaluation_name"]
        'nasca_deu_Latn'
    """
    check_repo_id("model_id", model_id, "an id of the Hub")
    metrics = [metric for metric in report.measured if report.scale(metric).bounds is not None]
    if not metrics:
        raise ArgumentError(
            f"report: none of its metrics ({', '.join(report.measured)}) has bounds, which a record must "
            "give; measure one that has, such as 'nasca'"
        )
    stamp = f"{time.time() if written is None else written:.0f}"
    identity = {"evaluation_id": f"xalign/{model_id}/{stamp}"}
    boolean("with_text", with_text)
    results = _results(report, metrics, model_id, evaluator, identity, stamp)
    shared = {"schema_version": SCHEMA_VERSION, **identity, "model_id": model_id}
    lines = [
        {**shared, **line}
        for metric in metrics
        for language in report.languages
        for line in _sentences(report, metric, language, with_text=with_text)
    ]
    return Record(results, tuple(lines))


def _results(
    report: AlignmentReport,
    metrics: list[str],
    model_id: str,
    evaluator: Evaluator,
    identity: Mapping[str, str],
    stamp: str,
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        **identity,
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": "xalign",
            "source_type": "evaluation_run",
            "source_organization_name": evaluator.organization,
            "evaluator_relationship": evaluator.relationship,
        },
        "eval_library": {"name": "xalign", "version": own_version()},
        "model_info": _model_info(report, model_id),
        "evaluation_results": [
            _result(report, metric, language) for metric in metrics for language in report.languages
        ],
    }


def _model_info(report: AlignmentReport, model_id: str) -> dict[str, Any]:
    owner, name = model_id.split("/")
    known = {key: report.provenance.get(key) for key in ("revision", "dtype", "model_type")}
    # The weights were run here; whether others can have them, a report does not know.
    known |= {"deployment_type": "self_deployed", "model_availability": "unknown"}
    details = _text({**known, "step": report.step})
    return {"name": name, "id": model_id, "developer": owner, "additional_details": details}


def _result(report: AlignmentReport, metric: str, language: str) -> dict[str, Any]:
    scale, (low, high) = report.scale(metric), report.interval(metric, language)
    bounds = scale.bounds or (0.0, 0.0)  # those without bounds are left out before
    uncertainty: dict[str, Any] = {"num_samples": len(report.pairs[language])}
    if low is not None and high is not None:
        uncertainty["confidence_interval"] = {
            "lower": low,
            "upper": high,
            "confidence_level": 0.95,
            "method": "over documents" if report.documents(language) else "over sentences",
        }
    pivot = report.pairs.pivot
    return {
        "evaluation_name": f"{metric}_{language}",
        "source_data": {
            "dataset_name": _dataset_name(report),
            "source_type": "other",
            "additional_details": _text({"fingerprint": report.pairs.fingerprint, "pivot": pivot}),
        },
        "metric_config": {
            "evaluation_description": f"{scale.title} of {language_name(language)} with "
            f"{language_name(pivot)}, mean over layers",
            "metric_id": f"xalign.{metric}",
            "metric_name": scale.title,
            "lower_is_better": not scale.higher_is_better,
            "score_type": "continuous",
            **dict(zip(("min_score", "max_score"), bounds, strict=True)),
        },
        "score_details": {
            "score": report.score(metric, language),
            "details": _text(
                {"floor": report.floor(metric, language), "chance": report.chance(metric, language)}
            ),
            "uncertainty": uncertainty,
        },
    }


def _dataset_name(report: AlignmentReport) -> str:
    """Return where the sentences are from; of a path only its last part, as folders may name people."""
    return (report.pairs.source or "parallel sentences").replace("\\", "/").rstrip("/").rpartition("/")[2]


def _sentences(
    report: AlignmentReport, metric: str, language: str, *, with_text: bool
) -> Iterator[dict[str, Any]]:
    bitext, scores = report.pairs[language], report.per_pair(metric, language)
    rows = {row: one for row, one in report.metrics.items() if one.metric == metric}
    scale = report.scale(metric)
    half = sum(scale.bounds or (0.0, 0.0)) / 2
    for place, (pivot, sentence) in enumerate(zip(bitext.pivot_sentences, bitext.sentences, strict=True)):
        pivot, sentence = str(pivot), str(sentence)
        values = {row: one.values[language][:, place] for row, one in rows.items()}
        shown = {
            row if len(values) > 1 else "bits": "".join("1" if bit else "0" for bit in bits)
            for row, bits in values.items()
            if not bits.is_floating_point()
        }
        layers = {"layers": ",".join(map(str, next(iter(rows.values())).layers))}
        yield {
            "evaluation_name": f"{metric}_{language}",
            "sample_id": f"{language}/{bitext.ids[place]}",
            "sample_hash": hashlib.sha256((pivot + sentence).encode()).hexdigest(),
            "interaction_type": "single_turn",
            "input": {"raw": pivot if with_text else "", "reference": [sentence] if with_text else []},
            "output": {"raw": []},
            "answer_attribution": [],
            "evaluation": {
                "score": float(scores[place]),
                "is_correct": bool(scale.beats(float(scores[place]), half)),
            },
            "metadata": shown | layers,
        }


def _text(values: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items() if value is not None}
