"""`xalign tokens TOKENIZER`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from xalign.cli.options import FirstPairs, Json, Languages, Pairs, Pivot, Revision, TrustRemoteCode
from xalign.cli.output import Output

if TYPE_CHECKING:
    from rich.table import Table

    from xalign.measurement.alignability import Alignability

Named = Annotated[str, typer.Argument(help="Hub id or folder of a tokenizer.")]
Against = Annotated[str | None, typer.Option(help="Another tokenizer to compare with.")]
AlignerName = Annotated[str, typer.Option(help="ibm1, which is built in, or eflomal where it is installed.")]
How = Annotated[
    str,
    typer.Option(
        help="How both directions of links become one: intersection, union, grow_diag, grow_diag_final_and."
    ),
]
Seed = Annotated[int, typer.Option(help="Of the shuffled lines and of the intervals.")]


def tokens(
    tokenizer: Named,
    against: Against = None,
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    aligner: AlignerName = "ibm1",
    how: How = "intersection",
    seed: Seed = 0,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Ask whether the tokens of translations can be matched one to one; needs a tokenizer and no model.

    Prints, per language, the share of tokens that are linked one to one with its 95 % interval, the same of
    shuffled lines, and beside it: nats per token, shared token types, the divergence of token distributions,
    and tokens for each token of the pivot. With --against, another tokenizer's, and the difference.

    Example: `xalign tokens Qwen/Qwen3-0.6B --pairs flores200/devtest --languages deu,swh --n 500`
    """
    from xalign.cli.loading import load_text, load_tokenizer
    from xalign.measurement.alignability import alignability, compare_alignability

    text = load_text(pairs, languages, pivot, n)
    names = [tokenizer] if against is None else [tokenizer, against]
    loading: Any = {"revision": revision, "trust_remote_code": trust_remote_code}
    loaded = [load_tokenizer(name, **(loading if name == tokenizer else {})) for name in names]
    found = [alignability(one, text, aligner=aligner, how=how, seed=seed) for one in loaded]
    differences = [] if against is None else compare_alignability(found[0], found[1], seed=seed)
    output = Output(json)
    if not json:
        for name, rows in zip(names, found, strict=True):
            output.console.print(_table(name, rows))
        if differences:
            output.console.print(_table_of_differences(differences))
    output.show_json(
        {
            "alignability": [
                {"tokenizer": name} | one.to_dict()
                for name, rows in zip(names, found, strict=True)
                for one in rows
            ],
            "difference": differences,
        }
    )


def _table(name: str, rows: "list[Alignability]") -> "Table":
    """Return what was found of a tokenizer as a table."""
    from rich.text import Text

    from xalign.escape import cell
    from xalign.result_table import result_table

    table = result_table(
        cell(f"{rows[0].metric} of {name}"),
        ["language"],
        ["one to one", "95 %", "shuffled", "cost", "shared", "JSD", "parity", "unknown"],
        Text(
            "one to one: the share of tokens that are linked so. shuffled: the same of mispaired lines.\n"
            "cost: nats per token. shared: token types. parity: tokens per token of the pivot."
        ),
    )
    for one in rows:
        table.add_row(
            cell(one.language),
            f"{one.one_to_one:.3f}",
            cell(f"[{one.low:.3f}, {one.high:.3f}]"),
            *(f"{value:.3f}" for value in (one.shuffled, one.cost, one.jaccard, one.jensen_shannon)),
            f"{one.parity:.2f}",
            "–" if one.unknown is None else f"{one.unknown:.1%}",
        )
    return table


def _table_of_differences(rows: list[dict[str, Any]]) -> "Table":
    """Return what `compare_alignability` gives as a table."""
    from xalign.escape import cell
    from xalign.result_table import result_table

    title = "The first tokenizer minus the second, one to one"
    table = result_table(title, ["language"], ["difference", "95 %"])
    for row in rows:
        interval = cell(f"[{row['low']:+.3f}, {row['high']:+.3f}]")
        table.add_row(cell(row["language"]), f"{row['difference']:+.3f}", interval)
    return table
