"""Import paths and names of 0.1.0 still work, each with one warning that names the new one."""

import importlib
import os
import subprocess
import sys

import pytest

from tests.tiny import ROOT
from xalign.renamed import MODULES, NAMES, renamed


@pytest.mark.parametrize("new", sorted({*MODULES.values()}))
def test_every_new_module_is_there(new):
    assert importlib.import_module(new)


@pytest.mark.parametrize(("old", "new"), sorted(NAMES.items()))
def test_every_old_name_gives_the_new_one(old, new):
    home, _, name = new.rpartition(".")
    module, _, old_name = old.rpartition(".")
    expected = getattr(importlib.import_module(home), name)
    vars(importlib.import_module(module)).pop(old_name, None)  # what a test before may have kept
    with pytest.warns(DeprecationWarning) as warned:
        found = getattr(importlib.import_module(module), old_name)
    assert found is expected
    (message,) = [str(one.message) for one in warned]
    assert message == f"{old} is deprecated and will be removed in the next version: use {new}"
    assert getattr(importlib.import_module(module), old_name) is expected  # and once only


@pytest.mark.thorough
def test_names_of_a_module_that_moved():
    code = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    from xalign.report.table import report_table\n"
        "    from xalign.report.table import report_table\n"
        "    import xalign.views.table\n"
        "assert report_table is xalign.views.table.report_table\n"
        "print([str(one.message) for one in caught if one.category is DeprecationWarning])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(
        [
            "xalign.report.table.report_table is deprecated and will be removed in the next version: use "
            "xalign.views.table.report_table"
        ]
    )


def test_what_never_was():
    with pytest.raises(AttributeError, match=r"module 'xalign\.metrics\.falls' has no attribute 'rises'"):
        renamed("xalign.metrics.falls", "rises")
    with pytest.raises(ImportError, match="cannot import name 'rises'"):
        from xalign.metrics.falls import rises  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("xalign.report.nothing")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    [
        "evaluate",
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("calibrate", "mean_difference", "language_means")
        ),
    ],
)
def test_a_module_in_the_place_of_its_function_can_be_called(name):
    """Importing the old module puts it into the package under the function's name."""
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        f"import xalign.steering.{name}\n"
        f"from xalign.steering import {name}\n"
        "from xalign.renamed import NAMES\n"
        f"try: {name}()\n"
        "except TypeError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(f"{name}() missing")


@pytest.mark.thorough
def test_warnings_point_at_the_users_line(tmp_path):
    """Python shows a DeprecationWarning only where the user's own script causes it."""
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.tiny import make_model, make_tokenizer\n"
        "from xalign import AlignmentMonitor, load_pairs, measure\n"
        "from xalign.finding import language_means\n"
        "model, tokenizer = make_model('llama'), make_tokenizer()\n"
        "pairs = load_pairs('bundled', ['deu'], n=4)\n"
        "measure(model, tokenizer, pairs, ['nasca'], nas='gate')\n"
        "AlignmentMonitor(model, tokenizer, pairs, nav='inner')\n"
        "language_means(model, tokenizer, pairs.texts, ['nasca'], nas='gate')\n"
        "from xalign.metrics.falls import falls\n"
    )
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in ran.stderr.splitlines() if "DeprecationWarning" in line]
    assert [line.split(":")[1] for line in lines] == ["6", "7", "8", "9"], ran.stderr
    assert all(str(script) in line for line in lines)
