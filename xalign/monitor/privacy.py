"""Keep sentences out of a trainer's uploads, unless the user allows them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from transformers.training_args import TrainingArguments

from xalign.errors import ReportError
from xalign.monitor.keeps_running import say
from xalign.results.run_folder import (
    PRIVATE,
    PUBLIC,
    keep_back,
    make_private,
    move_reports,
    reports_in_upload,
    run_folder,
)


class Keeper(Protocol):
    """A callback that keeps reports in the run's folder."""

    name: str
    log_text: bool


def folder_of(args: TrainingArguments, *, log_text: bool) -> Path:
    """Return where the callbacks of a run keep what they measure."""
    output_dir = Path(str(args.output_dir))
    return output_dir / PRIVATE if args.push_to_hub and not log_text else run_folder(output_dir)


def keep_private(args: TrainingArguments, keepers: Sequence[Keeper], *, in_training: bool) -> Path | None:
    """Move what was kept with its sentences to a folder that the trainer's uploads leave out.

    This covers everything in the run's folder, and reports anywhere else in `output_dir`.

    Args:
        args: The trainer's arguments.
        keepers: The callbacks on the trainer. What those with `log_text` keep stays.
        in_training: Whether an error would end a run. Then what cannot be moved is renamed, or else deleted:
            numbers can be measured again, but an upload cannot be taken back.

    Returns:
        The folder in which the others go on, or None where nothing was moved.

    Raises:
        ReportError: It cannot be moved; in training, it cannot be deleted either.
    """
    if args.process_index > 0:
        return None
    open_ones = [keeper.name for keeper in keepers if keeper.log_text]

    def stays(entry: str) -> bool:
        unnamed = re.fullmatch(r"(history\.jsonl|step-|earlier-).*", entry) is not None
        return entry in open_ones or (unnamed and "" in open_ones)

    def may_leave(report: Path) -> bool:
        folder = report.parent
        of_open = any(folder.parent == Path(PUBLIC, name) for name in open_ones)
        return of_open and folder.name.startswith("step-")

    output_dir = Path(str(args.output_dir))
    try:
        is_moved = make_private(output_dir, stays)
        reports = reports_in_upload(output_dir, may_leave)
        aside = move_reports(output_dir, reports)
    except OSError as error:
        problem = (
            f"{output_dir} holds reports with sentences, which cannot be moved out of the upload ({error})"
        )
        if not in_training:
            raise ReportError(f"{problem}; move them away, or let them leave with log_text=True") from None
        _keep_back(output_dir, stays, may_leave, problem)
        return output_dir / PRIVATE
    why = "it holds sentences, and the trainer's uploads leave this folder out; log_text=True uploads them"
    if is_moved:
        say(f"what was in {output_dir / PUBLIC} is in {output_dir / PRIVATE} now: {why}")
    if aside is not None:
        folders = sorted({str(report.parent) for report in reports})
        more = " …" if len(folders) > 3 else ""
        say(f"the reports of {', '.join(folders[:3])}{more} are in {aside} now: {why}")
    return output_dir / PRIVATE if is_moved else None


def _keep_back(
    output_dir: Path, stays: Callable[[str], bool], may_leave: Callable[[Path], bool], problem: str
) -> None:
    try:
        kept, deleted = keep_back(output_dir, stays, may_leave)
    except OSError as error:
        raise ReportError(
            f"{problem}, nor be deleted ({error}); the run ends here, because the trainer would upload them"
        ) from None
    found = [f"what could be renamed is in {', '.join(map(str, kept))} now"] if kept else []
    found += [f"deleted: {', '.join(map(str, deleted))}"] if deleted else []
    say(f"{problem}; {'; '.join(found)}; the run goes on in {output_dir / PRIVATE}")
