"""A report on the Hub: one commit of everything, or nothing and a reason. No network."""

import hashlib
import json
import re

import httpx
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from tests.reports import PAIRS, own_metrics, two_stacks
from xalign.errors import ArgumentError, ReportError
from xalign.hub.card import BEGIN, END, with_section
from xalign.hub.every_eval_ever import Evaluator, record_of

CARD = "---\nlicense: mit\n---\n# A model\n"
REQUEST = httpx.Request("POST", "https://hub.test")


def refusal(kind, status):
    return kind("refused", response=httpx.Response(status, request=REQUEST))


class Hub:
    """What is used of `HfApi`, with one repository in memory."""

    def __init__(self, folder, card=CARD, fails=None, at="repo_info"):
        self.folder, self.card, self.fails, self.at = folder, card, fails, at
        self.commits, self.tokens = [], []

    def __call__(self, token=None):
        self.tokens.append(token)
        return self

    def _step(self, name):
        if self.fails is not None and self.at == name:
            raise self.fails

    def repo_info(self, repo_id, *, revision=None):
        self._step("repo_info")
        return type("Info", (), {"sha": "f" * 40})

    def hf_hub_download(self, repo_id, name, *, revision=None):
        assert (name, revision) == ("README.md", "f" * 40)
        if self.card is None:
            raise EntryNotFoundError("no README.md")
        path = self.folder / "card.md"
        path.write_text(self.card, encoding="utf-8")
        return path

    def create_commit(self, repo_id, operations, **options):
        self._step("create_commit")
        files = {one.path_in_repo: one.path_or_fileobj for one in operations}
        self.commits.append((repo_id, files, options))
        return "https://hub.test/commit/1"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub(tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi", made)
    return made


def test_one_commit_has_everything(hub):
    report = two_stacks(step=7)
    url = report.push_to_hub(
        "me/model",
        benchmark="some/benchmark",
        tasks={"nasca_deu_Latn": "german", "mexa": "all"},
        token="secret",
    )
    assert url == "https://hub.test/commit/1" and hub.tokens == ["secret"]
    ((repo_id, files, options),) = hub.commits
    assert repo_id == "me/model" and options["parent_commit"] == "f" * 40 and options["create_pr"] is False
    results, card, record, lines = sorted(files)
    assert (results, card) == (".eval_results/xalign.yaml", "README.md")
    # The form that the store of Every Eval Ever asks of paths.
    assert re.fullmatch(r"evaluations/data/xalign/me/model/[0-9a-f-]{14}4[0-9a-f-]{21}\.json", record)
    assert lines == record.replace(".json", "_samples.jsonl")
    entries = parse_eval_result_entries(yaml.safe_load(files[".eval_results/xalign.yaml"]))  # the Hub's own
    assert [(one.dataset_id, one.task_id, one.value) for one in entries] == [
        ("some/benchmark", "german", report.score("nasca", "deu_Latn")),
        ("some/benchmark", "all", report.score("mexa")),
    ]
    assert entries[0].source_url.endswith(f"/me/model/blob/main/{record}")
    assert "12 pairs with eng_Latn; lexical floor 0.250" in entries[0].notes
    card = files["README.md"].decode()
    assert card.startswith(CARD.rstrip()) and card.count(BEGIN) == card.count(END) == 1
    assert f"| NASCA | German (deu_Latn) | {report.score('nasca', 'deu_Latn'):.3f} |" in card
    # Pushed again, the section takes the place of the old one.
    hub.card = card
    report.push_to_hub("me/model")
    assert hub.commits[1][1]["README.md"].decode() == card
    assert ".eval_results/xalign.yaml" not in hub.commits[1][1]


def test_no_sentence_leaves_unless_asked(hub):
    report = two_stacks()
    report.push_to_hub("me/model")
    report.push_to_hub("me/model", with_text=True)
    without, having = (b"".join(files.values()).decode() for _, files, _ in hub.commits)
    sides = [side for bitext in PAIRS.values() for side in (bitext.sentences, bitext.pivot_sentences)]
    sentences = [str(one) for side in sides for one in side]
    assert not any(f'"{one}"' in without for one in sentences)
    assert all(f'"{one}"' in having for one in sentences)


def test_a_model_without_a_card(hub):
    hub.card = None
    two_stacks().push_to_hub("me/model")
    assert hub.commits[0][1]["README.md"].decode().startswith(BEGIN)


@pytest.mark.parametrize(
    ("fails", "at", "message"),
    [
        (refusal(RepositoryNotFoundError, 404), "repo_info", "there is no such model, or your token cannot"),
        (refusal(GatedRepoError, 403), "repo_info", "the model is gated; ask for access"),
        (LocalTokenNotFoundError("none"), "create_commit", "there is no token; log in"),
        (refusal(HfHubHTTPError, 401), "create_commit", "your token is not valid, or there is none"),
        (refusal(HfHubHTTPError, 403), "create_commit", "may not write there; .*create_pr=True"),
        (refusal(HfHubHTTPError, 412), "create_commit", "somebody else changed the repository meanwhile"),
        (refusal(HfHubHTTPError, 500), "create_commit", "the Hub refused"),
        (OfflineModeIsEnabled("offline"), "repo_info", "the Hub cannot be reached"),
    ],
)
def test_what_the_hub_refuses(hub, fails, at, message):
    hub.fails, hub.at = fails, at
    with pytest.raises(ReportError, match=rf"repo_id='me/model': .*{message}.*\. Nothing was pushed"):
        two_stacks().push_to_hub("me/model")
    assert hub.commits == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repo_id": "model"}, "repo_id='model' must be the id of a model"),
        ({"benchmark": "a/b"}, "benchmark= and tasks= belong together"),
        ({"tasks": {"nasca": "x"}}, "benchmark= and tasks= belong together"),
        ({"benchmark": "b", "tasks": {"nasca": "x"}}, "benchmark='b' must be the id of a data set"),
        ({"benchmark": "a/b", "tasks": {"nasca_fra_Latn": "x"}}, "the scores are: nasca, nasca_deu_Latn"),
        ({"benchmark": "a/b", "tasks": {}}, "must map scores of the report to ids of tasks"),
        ({"create_pr": True}, "a proposal to a model must say who measured"),
        ({"relationship": "friend"}, "relationship='friend' must be one of first_party"),
    ],
)
def test_bad_arguments(hub, options, message):
    with pytest.raises(ArgumentError, match=message):
        two_stacks().push_to_hub(**{"repo_id": "me/model"} | options)
    assert hub.commits == []


@pytest.mark.parametrize("card", [f"# Model\n{BEGIN}\n", f"{BEGIN}{END}{BEGIN}{END}", f"# Model {END}"])
def test_a_torn_section_is_refused(card, hub):
    hub.card = card
    with pytest.raises(ReportError, match="must stand there once each"):
        two_stacks().push_to_hub("me/model")
    assert hub.commits == []
    assert with_section("", f"{BEGIN}{END}") == f"{BEGIN}{END}\n"


def test_a_record_has_the_bits_of_every_sentence():
    report = two_stacks(step=3)
    record = record_of(report, "me/model", Evaluator("Me", "third_party"), written=1_800_000_000.4)
    (path, content), (beside, body) = record.files().items()
    whole = json.loads(content)
    assert whole["evaluation_id"] == "xalign/me/model/1800000000"
    assert whole["source_metadata"]["evaluator_relationship"] == "third_party"
    reference = whole["detailed_evaluation_results"]
    assert reference["checksum"] == hashlib.sha256(body).hexdigest()
    lines = [json.loads(line) for line in body.decode().splitlines()]
    assert reference["total_rows"] == len(lines) == 2 * 2 * 12
    assert reference["file_path"] == beside
    later = record_of(report, "me/model", Evaluator("Me", "third_party"), written=1_900_000_000.0)
    assert list(later.files()) == [path, beside]  # pushed again, it takes the place of the old one
    for result in whole["evaluation_results"]:
        metric, _, language = result["evaluation_name"].partition("_")
        of_it = [line for line in lines if line["evaluation_name"] == result["evaluation_name"]]
        values = report.metrics[metric].values[language]
        for place, line in enumerate(of_it):
            bits = [int(bit) for bit in line["metadata"]["bits"]]
            assert bits == values[:, place].int().tolist()
            assert line["evaluation"]["score"] == pytest.approx(sum(bits) / len(bits))
            assert line["evaluation"]["is_correct"] == (sum(bits) / len(bits) > 0.5)
            pair = PAIRS[language].pivot_sentences[place] + PAIRS[language].sentences[place]
            assert line["sample_hash"] == hashlib.sha256(pair.encode()).hexdigest()
        mean = sum(line["evaluation"]["score"] for line in of_it) / len(of_it)
        assert result["score_details"]["score"] == pytest.approx(mean)
        interval = result["score_details"]["uncertainty"]["confidence_interval"]
        assert (interval["lower"], interval["upper"]) == report.interval(metric, language)
        assert result["metric_config"]["min_score"] == 0 and result["metric_config"]["max_score"] == 1


def test_metrics_without_bounds_have_no_place():
    report = own_metrics()
    record = record_of(report, "me/model", Evaluator("me", "first_party"))
    assert {one["evaluation_name"] for one in record.results["evaluation_results"]} == {
        "misses_deu_Latn",
        "misses_rus_Cyrl",
    }
    assert all(one["metric_config"]["lower_is_better"] for one in record.results["evaluation_results"])
    only = type(report)(
        PAIRS, {"distance": report.metrics["distance"]}, report.stats, report.cost, report.provenance
    )
    with pytest.raises(ArgumentError, match=r"none of its metrics \(distance\) has bounds"):
        record_of(only, "me/model", Evaluator("me", "first_party"))
    with pytest.raises(ArgumentError, match="model_id='model' must be an id of the Hub"):
        record_of(report, "model", Evaluator("me", "first_party"))
    with pytest.raises(ArgumentError, match="must name who measured"):
        Evaluator(" ", "first_party")
