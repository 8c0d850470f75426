"""`Published`: a report in other forms: tables, pictures, pages, data frames, the Hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from xalign.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from xalign.results.report import AlignmentReport


class Published:
    """The methods of a report that show it. Each imports what it needs when it is called."""

    def table(self) -> "Table":
        """Return the report as a rich table: each score beside its interval and its lexical floor."""
        from xalign.views.table import report_table

        return report_table(self._report)

    def figure(self, metric: str = "nasca") -> "Figure":
        """Draw a layer × language heatmap of one metric beside its lexical floor (needs matplotlib)."""
        from xalign.views.heatmap import heatmap

        return heatmap(self._report, metric)

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one page that opens from disk; see `xalign.views.page.write_page`."""
        from xalign.views.page import write_page

        return write_page(self._report, path)

    def to_pandas(self) -> Any:
        """Return `to_rows` as a pandas data frame: a row per metric, language and layer, and per score.

        Raises:
            MissingExtraError: pandas is not installed.

        Example:
            >>> frame = report.to_pandas()
            >>> frame[frame.layer == "mean"].language.tolist()
            ['deu_Latn']
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("to_pandas needs pandas: pip install pandas") from None
        return pd.DataFrame(self._report.to_rows())

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows in place of the text."""
        from xalign.views.notebook import report_html

        return report_html(self._report)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        benchmark: str | None = None,
        tasks: Mapping[str, str] | None = None,
        organization: str | None = None,
        relationship: Literal["first_party", "third_party", "collaborative", "other"] | None = None,
        with_text: bool = False,
        create_pr: bool = False,
        revision: str | None = None,
        token: str | None = None,
        commit_message: str = "Add cross-lingual alignment measured with xalign",
    ) -> str:
        """Put the report into a model's repository on the Hub, in one commit or not at all.

        The commit writes a section of the model card and, under `evaluations/data/xalign`, an Every Eval Ever
        record with the bits of every sentence. With `benchmark`, it also writes `.eval_results/xalign.yaml`,
        which the Hub shows on the pages of the model and of the benchmark.

        Args:
            repo_id: The model, like `owner/name`. It must exist.
            benchmark: A data set of the Hub that is registered as a benchmark.
            tasks: Score, a key of `summary` -> id of a task in the data set's `eval.yaml`.
            organization: Who measured. If None, the owner of the model; required with `create_pr`.
            relationship: How they are related to the makers of the model. If None, `"first_party"`; required
                with `create_pr`.
            with_text: Publish the sentences too. Otherwise each sentence is identified by its id and a hash
                only.
            create_pr: Open a pull request instead of committing.
            revision: The branch.
            token: An access token of the Hub; if None, that of `hf auth login`.
            commit_message: The first line of the commit.

        Returns:
            The URL of the commit.

        Raises:
            ArgumentError: An invalid id, score or task, or a pull request that does not say who measured.
            ReportError: No such model, no token, no access, a gated model, a change by somebody else, or no
                connection. Nothing was pushed.
        """
        from xalign.hub.push import push_report

        return push_report(
            self._report,
            repo_id,
            benchmark=benchmark,
            tasks=tasks,
            organization=organization,
            relationship=relationship,
            with_text=with_text,
            create_pr=create_pr,
            revision=revision,
            token=token,
            commit_message=commit_message,
        )

    @property
    def _report(self) -> "AlignmentReport":
        return cast("AlignmentReport", self)
