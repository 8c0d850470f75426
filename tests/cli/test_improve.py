"""`xalign improve`: from one file to one page; wrong files are one line."""

import json

import pytest
import yaml

from tests.cli.typed import xalign
from tests.tiny import ROOT

SMOKE = ROOT / "configs" / "closed_loop_smoke.yaml"


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_it_saves_a_model_and_a_page_and_says_what_got_worse(tmp_path):
    done = xalign("improve", SMOKE, "--output-dir", tmp_path / "run", "--max-steps", 6)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "before trained centred" in said
    assert "- NASCA, mean of 2 languages: " in said
    assert "What got worse: " in said or "Nothing surely got worse." in said
    assert f"wrote {tmp_path / 'run' / 'improvement.html'}" in said
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert '"improvement":{' in (tmp_path / "run" / "improvement.html").read_text()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_json_alone_on_stdout(tmp_path):
    done = xalign("improve", SMOKE, "--output-dir", tmp_path / "run", "--max-steps", 2, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {row["language"] for row in found["rows"]} == {"spa_Latn", "deu_Latn"}
    assert found["page"] == str(tmp_path / "run" / "improvement.html")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"align_control": "lop"}, "control='lop' must be one of loop, duty"),
        ({"align_control_pairs": "configs/smoke/pairs.tsv"}, "sentences"),
        (
            {"align_control_pairs": "configs/smoke/held_out.tsv"},
            "control pairs hold sentences that are measured",
        ),
        ({"text": ["configs/smoke/none.txt"]}, "text='configs/smoke/none.txt' cannot be read"),
        ({"bloc": 3}, "bloc"),
    ],
)
def test_a_wrong_file_is_one_line_and_trains_nothing(change, message, tmp_path):
    config = yaml.safe_load(SMOKE.read_text()) | {"output_dir": str(tmp_path / "run")} | change
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = xalign("improve", tmp_path / "config.yaml")
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert not (tmp_path / "run" / "improvement.html").exists()
    assert done.stderr.strip().splitlines()[-1].startswith("xalign: ")
