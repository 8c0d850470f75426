"""A picture is written whole, or not at all, and never into what is no file."""

import os

import matplotlib.figure
import pytest

from tests.cli.typed import xalign
from tests.faults.test_special_files import KINDS, no_longer_than
from tests.reports import own_metrics
from xalign.demo import emergence, improvement
from xalign.errors import ReportError
from xalign.views.save import save_with_heatmaps

REPORT = own_metrics(step=3)


def test_a_picture_replaces_a_link_and_keeps_what_it_points_to(tmp_path):
    """The picture was written through the link, over a file elsewhere."""
    (tmp_path / "victim").write_text("mine")
    (folder := tmp_path / "report").mkdir()
    (folder / "distance.png").symlink_to(tmp_path / "victim")
    save_with_heatmaps(REPORT, folder, overwrite=True)
    assert (tmp_path / "victim").read_text() == "mine"
    assert (folder / "distance.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "distance.png").is_symlink()


def test_a_link_that_leads_nowhere_is_there(tmp_path):
    """A link without an end was followed, though nothing was to be overwritten."""
    (folder := tmp_path / "report").mkdir()
    (folder / "distance.png").symlink_to(tmp_path / "new")
    with pytest.raises(ReportError, match="exist already"):
        save_with_heatmaps(REPORT, folder)
    assert not (tmp_path / "new").exists()


def test_a_full_disk_keeps_the_picture_that_was_there(tmp_path, monkeypatch):
    """A good picture was cut to what still had room."""
    save_with_heatmaps(REPORT, tmp_path)
    before, synced, real = (tmp_path / "distance.png").read_bytes(), [], os.fsync

    def full(handle):
        synced.append(handle)
        if len(synced) > 2:  # those of the report
            raise OSError(28, "No space left on device")
        real(handle)

    def limited(self, target, **options):
        """A file that is written directly is cut."""
        if isinstance(target, str | os.PathLike):
            with open(target, "wb") as file:
                file.write(b"\x89PNG")
            raise OSError(28, "No space left on device")
        saved(self, target, **options)

    saved = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", limited)
    with pytest.raises(ReportError, match=r"distance\.png cannot be written: No space left"):
        save_with_heatmaps(REPORT, tmp_path, overwrite=True)
    assert (tmp_path / "distance.png").read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_before_a_model_is_loaded(tmp_path, kind):
    """After the whole measurement, matplotlib raised an error of its own, or waited for a pipe's reader."""
    kind(tmp_path / "nasca.png")
    with no_longer_than(60):
        done = xalign("measure", "no/such-model", "--languages", "deu", "--out", tmp_path, "--overwrite")
    assert done.exit_code == 2
    assert "nasca.png is no regular file" in " ".join(done.stderr.split())
    with no_longer_than(60), pytest.raises(ReportError, match="is no regular file"):
        kind(tmp_path / "distance.png")
        save_with_heatmaps(REPORT, tmp_path, overwrite=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["emergence.png", "improvement.png", "history.jsonl", "report.html"])
def test_the_demo_refuses_it_before_it_trains(tmp_path, monkeypatch, name, kind):
    """The demo found out after its minutes of training."""
    monkeypatch.setattr(emergence, "emerge", lambda *args, **kwargs: pytest.fail("it trains"))
    monkeypatch.setattr(improvement, "improve", lambda *args, **kwargs: pytest.fail("it trains"))
    kind(tmp_path / name)
    done = xalign("demo", "--out", tmp_path)
    assert done.exit_code == 2
    assert f"{name} is no regular file" in " ".join(done.stderr.split())


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_is_drawn_into_no_pipe(tmp_path, kind):
    """A pipe was replaced by the picture, and a folder gave an error of the system."""
    REPORT.save(tmp_path / "report")
    (tmp_path / "drawn").mkdir()
    kind(tmp_path / "drawn" / "distance.png")
    done = xalign("compare", tmp_path / "report", tmp_path / "report", "--out", tmp_path / "drawn")
    assert done.exit_code == 2
    assert "distance.png is no regular file" in " ".join(done.stderr.split())
