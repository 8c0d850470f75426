"""`xalign improve CONFIG`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from xalign.cli.options import Json, path
from xalign.cli.output import Output

PAGE = "improvement.html"


def improve(
    config: Annotated[
        Path, typer.Argument(parser=path, help="YAML file: the model, its text, training, alignment.")
    ],
    output_dir: Annotated[Path | None, typer.Option(parser=path, help="In place of the file's.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="In place of the file's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    json: Json = False,
) -> None:
    """Measure a model, train it on text while a closed loop aligns it, centre its languages, measure again.

    Saves the model and improvement.html into the output folder: before and after by language, what was
    decided and why, what it cost, and what got worse.

    Example: `xalign improve configs/closed_loop_smoke.yaml`
    """
    from xalign.improving.config import ImproveConfig
    from xalign.improving.improve import improve as run

    changes: dict[str, Any] = {} if output_dir is None else {"output_dir": str(output_dir)}
    changes |= {} if max_steps is None else {"max_steps": max_steps}
    said = ImproveConfig.load(config, **changes)
    reporting = said.reporting()
    output = Output(json)
    with output.no_other_stdout():
        trainer = said.make_trainer()
        improvement = run(
            trainer,
            reporting,
            metrics=said.improve.measure_metrics,
            every=said.improve.measure_every,
            centre=said.improve.centre,
            resume_from_checkpoint=resume or None,
        )
        trainer.save_model()
    if not trainer.is_world_process_zero():
        return
    page = improvement.to_html(Path(str(trainer.args.output_dir)) / PAGE)
    output.show(improvement.table(), improvement.to_dict() | {"page": str(page)})
    for sentence in improvement.sentences():
        output.say(f"- {sentence}")
    output.say(f"wrote {page}")
