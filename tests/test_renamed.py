"""Import paths and names of 0.1.0 still work, each with one warning that names the new one."""

import importlib
import subprocess
import sys

import pytest

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
