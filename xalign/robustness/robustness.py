"""`Robustness`: what `measure_robustness` found, as rows and as a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xalign.errors import ArgumentError
from xalign.languages import match_language
from xalign.model.architectures.sites import Layer
from xalign.result_table import result_table
from xalign.robustness.perturbations.perturbation import Perturbation
from xalign.robustness.survival import Survival

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]
Key = tuple[str, str, str]  # kind, row of the metric, language


@dataclass(frozen=True, eq=False)
class Robustness:
    """How many alignment bits survive each kind of change.

    Attributes:
        kinds: The kinds of change, in order.
        layers: Row of a metric -> its layers.
        found: (kind, row of a metric, language) -> the bits of the sentences that were changed.
        floors: The same for token counts, without the model; one layer.
        n: Language -> number of its pairs.
        side: Whose sentences were changed: `"languages"` or `"pivot"`.
        seed: The seed of the changes and of the intervals.
    """

    kinds: Sequence[Perturbation]
    layers: Mapping[str, Sequence[Layer | str]]
    found: Mapping[Key, Survival]
    floors: Mapping[Key, Survival]
    n: Mapping[str, int]
    side: str
    seed: int

    def survival(self, kind: str, metric: str, language: str) -> Survival:
        """Return the bits of a kind, a row of a metric and a language, paired over sentences.

        Raises:
            ArgumentError: There is none, or no sentence could be changed.
        """
        key = (kind, metric, match_language(language, self.n) or language)
        if key not in self.found:
            raise ArgumentError(
                f"kind={kind!r}, metric={metric!r}, language={language!r}: nothing was measured, or no "
                "sentence could be changed"
            )
        return self.found[key]

    def to_rows(self) -> list[Row]:
        """Return a dict per kind, metric and language.

        The keys are: kind, metric, language, competes (whether the changed sentence competes with the true
        one, or takes its place), n, changed (how many sentences could be changed; all that follows is of
        these), before and after (share of bits, mean over layers), difference with low and high (95 %, paired
        over sentences or documents) and p (sign flips), survived (of the bits that were 1, how many still
        are) with survived_low and survived_high, chance (of survived: about ½ where they compete, for a model
        that cannot tell them apart; else None), floor_survived (the same for token counts), and documents
        (how many are resampled; None for sentences). Where no sentence could be changed, the numbers are
        None.
        """
        rows = []
        for kind in self.kinds:
            for metric in self.layers:
                for language in self.n:
                    about = {"kind": kind.name, "metric": metric, "language": language}
                    rows.append(about | self._numbers(kind, metric, language))
        return rows

    def _numbers(self, kind: Perturbation, metric: str, language: str) -> Row:
        key = (kind.name, metric, language)
        names = ["before", "after", "difference", "low", "high", "p"]
        names += ["survived", "survived_low", "survived_high", "floor_survived", "documents"]
        about = {
            "competes": not kind.keeps_meaning,
            "n": self.n[language],
            "changed": 0,
            "chance": None if kind.keeps_meaning else 0.5,
        }
        if key not in self.found:
            return about | dict.fromkeys(names)
        bits = self.found[key]
        low, high = bits.difference_interval(self.seed)
        survived_low, survived_high = bits.interval()
        return about | {
            "changed": bits.before.shape[1],
            "before": float(bits.before.mean()),
            "after": float(bits.after.mean()),
            "difference": float(bits.differences.mean()),
            **{"low": low, "high": high, "p": bits.p_value(self.seed)},
            **{"survived": bits.survived, "survived_low": survived_low, "survived_high": survived_high},
            "floor_survived": self.floors[key].survived if key in self.floors else None,
            "documents": None if bits.documents is None else bits.documents.count,
        }

    def by_layer(self, kind: str, metric: str, language: str) -> list[Row]:
        """Return a dict per layer: layer, before, after, and survived (None where no bit was 1)."""
        bits = self.survival(kind, metric, language)
        return [
            {"layer": layer, "before": float(was.mean()), "after": float(now.mean()), "survived": survived}
            for layer, was, now, survived in zip(
                self.layers[metric], bits.before, bits.after, bits.survived_by_layer, strict=True
            )
        ]

    def table(self) -> "Table":
        """Return the rows as a rich table."""
        from rich.text import Text

        table = result_table(
            "How many alignment bits survive",
            ["kind", "", "metric", "language"],
            ["changed", "before", "after", "survived", "95 %", "floor"],
            Text(
                "before, after: share of bits of the sentences that were changed, mean over layers.\n"
                "survived: of the bits that were 1, how many still are, with its 95 % interval.\n"
                "competes: the changed sentence is a rival of the true one; a model that cannot tell them\n"
                "apart keeps half of its bits. Else it takes the place of the sentence.\n"
                "floor: survived of token counts, without the model."
            ),
        )
        for row in self.to_rows():
            table.add_row(*_cells(row))
        return table

    def __repr__(self) -> str:
        """Name the kinds, metrics and languages."""
        kinds = ", ".join(kind.name for kind in self.kinds)
        return f"Robustness({kinds}; {', '.join(self.layers)}; {', '.join(self.n)})"


def _cells(row: Row) -> Iterator[str]:
    yield from (row["kind"], "competes" if row["competes"] else "replaces", row["metric"], row["language"])
    yield f"{row['changed']} of {row['n']}"
    for name in ("before", "after", "survived"):
        yield "" if row[name] is None else f"{row[name]:.3f}"
    low, high = row["survived_low"], row["survived_high"]
    yield "" if low is None else f"[{low:.2f}, {high:.2f}]"
    yield "" if row["floor_survived"] is None else f"{row['floor_survived']:.2f}"
