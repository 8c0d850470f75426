"""`xalign doctor MODEL`, and commands that are quiet."""

import json
import re
import subprocess
import sys

import pytest

from tests.cli.typed import xalign
from tests.minilm import minilm_folder
from tests.tiny import ROOT, make_tokenizer
from xalign import diagnose, load_pairs
from xalign.cli.loading import load_model

FEW = ("--languages", "deu", "--n", 6, "--device", "cpu")


def test_it_says_what_diagnose_says(model_folder, tmp_path):
    done = xalign("doctor", model_folder, *FEW)
    assert done.exit_code == 0, done.stderr
    expected = str(
        diagnose(*load_model(str(model_folder), device="cpu"), load_pairs("bundled", ["deu"], n=6))
    )
    without_times = [line for line in expected.splitlines() if "about" not in line]
    assert [line.rstrip() for line in done.stdout.splitlines() if "about" not in line] == without_times
    found = json.loads(xalign("doctor", model_folder, *FEW, "--json").stdout)
    assert found["is_measurable"] and found["model"]["architecture"] == "llama"
    assert found["model"]["stacks"][0]["blocks"][0]["widths"]["inner"] == [80]
    assert found["languages"]["deu_Latn"]["sentences"] == 6
    assert found["expected"]["memory"]["on_device"] > found["expected"]["memory"]["weights"]
    assert not list(tmp_path.iterdir())


def test_it_refuses_what_measure_refuses(model_folder):
    refused = xalign("doctor", model_folder, *FEW, "--max-length", 30, "--template", "nothing")
    assert refused.exit_code == 1
    assert "must hold {text} exactly once" in refused.stdout
    found = json.loads(xalign("doctor", model_folder, *FEW, "--template", "nothing", "--json").stdout)
    assert not found["is_measurable"] and found["expected"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "cannot be loaded"),
        (["--n", "4", "--truncate"], "--n, --truncate: of a model"),
        ([""], "model='' is empty"),
    ],
)
def test_what_cannot_be_looked_at(arguments, said):
    done = xalign("doctor", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize(
    "code",
    [
        "import xalign",
        "import sys; sys.argv = ['xalign', '--help']; from xalign.cli import main; main()",
        "import sys; sys.argv = ['xalign', 'measure', '--help']; from xalign.cli import main; main()",
    ],
)
def test_starting_prints_no_warnings(code):
    """Not even those that Python hides by default; the first line of `-W error` would end the process."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_tokenizer_is_not_written(model_folder, tmp_path):
    """Doctor leaves the folder of the model as it was."""
    before = {path: path.read_bytes() for path in sorted(model_folder.iterdir())}
    assert xalign("doctor", model_folder, *FEW).exit_code == 0
    assert {path: path.read_bytes() for path in sorted(model_folder.iterdir())} == before
    assert make_tokenizer().padding_side == "right"


@pytest.mark.filterwarnings("ignore:most tokens of some languages:UserWarning")
def test_the_example_of_the_docs_is_what_it_prints():
    """All of it but the seconds."""
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    command, shown = re.search(
        r"```bash\nxalign (doctor .*?)\n```\n\n```text\n(.*?)```", page, re.DOTALL
    ).groups()
    arguments = [minilm_folder() if "MiniLM" in one else one for one in command.split()]
    done = xalign(*arguments, "--device", "cpu")
    assert done.exit_code == 0, done.stderr

    def without_seconds(text):
        return [re.sub(r"about \d+ \w+", "about", line).rstrip() for line in text.splitlines()]

    assert without_seconds(done.stdout) == without_seconds(shown)
