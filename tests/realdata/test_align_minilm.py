"""A real model aligned on real text: all-MiniLM-L6-v2 on NTREX, measured on FLORES."""

import json
import os
import subprocess
import sys

import pytest

from tests.tiny import ROOT

LEAST_GAIN = dict.fromkeys(["fra_Latn", "spa_Latn", "deu_Latn", "ind_Latn"], 0.20)
LEAST_GAIN |= dict.fromkeys(["swh_Latn", "fin_Latn"], 0.12)


@pytest.mark.slow
def test_aligning_lifts_every_trained_language(real_text, tmp_path):
    command = [sys.executable, str(ROOT / "recipes" / "align_minilm.py"), "--output_dir", str(tmp_path)]
    environment = os.environ | {"XALIGN_DATA": str(real_text), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment)
    found = json.loads((tmp_path / "align_minilm.json").read_text(encoding="utf-8"))
    trained = {code: row for code, row in found["languages"].items() if row["trained"]}
    assert len(trained) == 7
    for code, least in LEAST_GAIN.items():
        assert trained[code]["gain"] >= least, code
    for code, row in trained.items():
        assert row["low"] > 0, code
        assert max(row["blocks_after"]) > row["floor"], code
    assert len(found["languages"]) == 10
    assert found["english"]["pawsx_after"] > 0.5
