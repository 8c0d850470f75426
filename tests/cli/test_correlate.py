"""`xalign correlate`: a table, JSON, a page, and what is refused."""

import json

from tests.cli.test_cli import xalign
from tests.correlation import files
from tests.correlation.test_correlate import report_of


def test_a_table_json_and_a_page(tmp_path):
    report_of().save(tmp_path / "tiny")
    (tmp_path / "results").mkdir()
    files.lighteval(tmp_path / "results")
    (tmp_path / "sizes.csv").write_text("language,size\nde,9\nfr,8\nru,7\nes,3\nzho_Hans,5\n")
    common = ("correlate", tmp_path / "tiny", tmp_path / "results", "--data-sizes", tmp_path / "sizes.csv")
    done = xalign(*common, "--out", tmp_path / "found.html")
    assert done.exit_code == 0, done.stderr
    assert "belebele" in done.stdout
    assert "lexical floor" in done.stdout
    assert "left out: lighteval|global_mmlu_all_deu_mcf:astronomy|0" in done.stdout
    assert "<svg" in (tmp_path / "found.html").read_text(encoding="utf-8")
    printed = json.loads(xalign(*common, "--json", "--resample", "languages").stdout)
    assert printed["rows"][0]["partial"] is not None
    assert len(printed["points"]) == 5


def test_tasks_and_scores_that_are_named(tmp_path):
    report_of().save(tmp_path / "tiny")
    lines = "\n".join(f"quiz {code},{score},{1 - score}" for code, score in files.SCORES.items())
    (tmp_path / "own.csv").write_text(f"task,score,f1\n{lines}\n")
    tasks = "\n".join(f"quiz {code},{code}" for code in files.SCORES)
    (tmp_path / "tasks.csv").write_text(f"task,language\n{tasks}\n")
    common = ("correlate", tmp_path / "tiny", tmp_path / "own.csv")
    assert "its name tells no language" in xalign(*common).stderr
    done = xalign(*common, "--tasks", tmp_path / "tasks.csv", "--score", "f1", "--json")
    assert done.exit_code == 2  # every task is a benchmark of its own
    assert "no benchmark has 4" in done.stderr


def test_what_is_refused(tmp_path):
    report_of().save(tmp_path / "tiny")
    path = files.table(tmp_path)
    (tmp_path / "sizes.csv").write_text("code,size\nde,9\n")
    done = xalign("correlate", tmp_path / "tiny", path, "--data-sizes", tmp_path / "sizes.csv")
    assert done.exit_code == 2
    assert "its first line must be language,size" in done.stderr
    (tmp_path / "sizes.csv").write_text("language,size\nde,many\n")
    done = xalign("correlate", tmp_path / "tiny", path, "--data-sizes", tmp_path / "sizes.csv")
    assert "a size is no number" in done.stderr
