"""Each format is read, and what cannot be used is listed."""

import json

import pytest

from tests.correlation import files
from xalign.correlation import read_results
from xalign.errors import ArgumentError


def scores(results):
    return {one.language: one.value for one in results.outcomes}


def reasons(results):
    return {one.what: one.reason for one in results.left_out}


def test_lm_eval(tmp_path):
    found = read_results(files.lm_eval(tmp_path))
    assert scores(found) == files.SCORES
    (one, *_) = found.outcomes
    assert (one.benchmark, one.task) == ("belebele", "belebele_deu_Latn")
    assert (one.identity.model, one.identity.step) == ("tiny", 200)
    assert reasons(found) == {
        "belebele": "its name tells no language that is known",
        "hellaswag": "its name tells no language that is known",
        "xquad_de": "has exact_match, f1; choose one with score= (--score)",
    }
    normed = read_results(tmp_path, score="acc_norm")
    assert scores(normed) == pytest.approx({code: score + 0.02 for code, score in files.SCORES.items()})


@pytest.mark.parametrize("given", ["pretrained=runs/tiny/checkpoint-200,dtype=auto", None])
def test_lm_eval_says_the_model_in_several_ways(tmp_path, given):
    path = files.lm_eval(tmp_path)
    content = json.loads(path.read_text())
    content["config"]["model_args"] = given
    path.write_text(json.dumps(content))
    assert read_results(path).outcomes[0].identity.model == "tiny"


def test_lighteval(tmp_path):
    found = read_results(files.lighteval(tmp_path))
    assert scores(found) == files.SCORES
    assert {one.benchmark for one in found.outcomes} == {"belebele"}
    assert {(one.identity.model, one.identity.step) for one in found.outcomes} == {("tiny", None)}
    assert "a part of global_mmlu" in reasons(found)["lighteval|global_mmlu_all_deu_mcf:astronomy|0"]


def test_every_eval_ever(tmp_path):
    found = read_results(files.every_eval_ever(tmp_path))
    assert scores(found) == {code.replace("zho_Hans", "zh"): one for code, one in files.SCORES.items()}
    assert {one.benchmark for one in found.outcomes} == {"global-mmlu-lite"}
    assert list(reasons(found)) == ["Culturally Sensitive"]
    record = json.loads((tmp_path / "every.json").read_text())
    record["evaluation_results"][0]["evaluation_name"] = "belebele_deu_Latn"  # a task's own name
    (tmp_path / "more.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(record)}\n")
    again = read_results(tmp_path / "more.jsonl")
    assert [one.benchmark for one in again.outcomes][0] == "belebele"
    assert len(again.outcomes) == 10


def test_a_table(tmp_path):
    found = read_results(files.table(tmp_path, loss=lambda code: len(code) / 10, note=lambda code: "text"))
    assert scores(found) == files.SCORES
    assert found.outcomes[0].besides == {"loss": 0.8}
    assert (found.outcomes[0].identity.model, found.outcomes[0].identity.step) == ("tiny", 200)
    (tmp_path / "plain.tsv").write_text("Language\tAccuracy\nde\t.5\nzh\t.6\nxx\t.7\n")
    plain = read_results(tmp_path / "plain.tsv")
    assert scores(plain) == {"deu_Latn": 0.5, "zh": 0.6}
    assert {one.benchmark for one in plain.outcomes} == {"score"}
    assert list(reasons(plain).values()) == ["language 'xx' is unknown"]


def test_a_folder_with_everything(tmp_path):
    (tmp_path / "a").mkdir()
    for make in (files.lm_eval, files.lighteval, files.every_eval_ever, files.table):
        make(tmp_path / "a")
    (tmp_path / "a" / "samples.jsonl").write_text('{"doc": 1}\n')
    (tmp_path / "a" / "broken.json").write_text("{")
    (tmp_path / "notes.txt").write_text("no results")
    found = read_results(tmp_path)
    assert len(found.outcomes) == 20
    assert "of no shape that is known" in reasons(found)["samples.jsonl"]
    assert "is no JSON" in reasons(found)["broken.json"]


def test_tasks_of_ones_own(tmp_path):
    (tmp_path / "own.csv").write_text("task,score\nquiz_german,.5\nquiz_welsh,.4\n")
    found = read_results(tmp_path / "own.csv", tasks={"quiz_german": "de"})
    assert [(one.benchmark, one.language) for one in found.outcomes] == [("quiz_german", "deu_Latn")]
    assert list(reasons(found)) == ["quiz_welsh"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[1, 2]", "of no shape that is known"),
        ("a.json", '{"results": {"xnli_de": {"acc": 1}}}', "of no shape that is known"),
        ("a.json", "{", "is no JSON"),
        ("a.csv", "language,points\nde,1\n", "has no column 'score'; it has language, points"),
        ("a.csv", "score\n1\n", "neither a column 'language' nor 'task'"),
        ("a.csv", "language,score\nde\n", "line 2: 1 fields where the header has 2"),
        ("a.csv", "language,score\nde,good\n", "line 2: score='good' must be a finite number"),
        ("a.csv", "language,score\nde,nan\n", "must be a finite number"),
        ("a.csv", "language,step,score\nde,last,.1\n", "step='last' must be a finite number"),
        ("a.csv", "", "has no column 'score'; it has none"),
    ],
)
def test_what_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ArgumentError, match=message):
        read_results(tmp_path / name)
    with pytest.raises(ArgumentError, match="does not exist"):
        read_results(tmp_path / "none")
