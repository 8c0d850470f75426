"""`Lookup`: finds the values of a report by metric, language and stack."""

from typing import Any

import numpy as np
from jaxtyping import Shaped

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.sites import Site
from xalign.pairs.languages import match_language
from xalign.pairs.parallel import ParallelPairs
from xalign.results.values import MetricResult


class Lookup:
    """The rows and languages of a report, found by any of their names."""

    pairs: ParallelPairs[Any]
    metrics: dict[str, MetricResult]

    @property
    def languages(self) -> list[str]:
        """The languages without the pivot."""
        return self.pairs.languages

    @property
    def measured(self) -> list[str]:
        """The metrics as they were asked for: a metric of several rows is listed once."""
        return list(dict.fromkeys(result.metric for result in self.metrics.values()))

    @property
    def stacks(self) -> list[str]:
        """The stacks measured: `[""]`, or `["encoder", "decoder"]` of a model that has both."""
        return list(dict.fromkeys(site.stack for result in self.metrics.values() for site in result.sites))

    def sites(self, metric: str) -> tuple[Site, ...]:
        """Return the places at which a metric was measured, from the lowest layer of each stack."""
        return self._results(metric)[0].sites

    def _results(self, metric: str) -> list[MetricResult]:
        """Return the results of a metric: one, or one per part."""
        return [self.metrics[row] for row in self._rows(metric)]

    def _rows(self, metric: str) -> list[str]:
        if not isinstance(metric, str):
            raise ArgumentTypeError(f"metric={metric!r:.60} must be the name of one metric")
        rows = [row for row, result in self.metrics.items() if metric in (row, result.metric)]
        if not rows:
            raise ArgumentError(f"metric={metric!r} is not in this report; it has {', '.join(self.measured)}")
        return rows

    def _language(self, language: str) -> str:
        """Return the code under which a language is in this report, from any spelling of it."""
        code = match_language(language, self.pairs)
        if code is None:
            raise ArgumentError(
                f"language={language!r} is not in this report; it has {', '.join(self.languages)}"
            )
        return code

    def _values(
        self, metric: str, language: str | None, stack: str | None = None
    ) -> list[Shaped[np.ndarray, "layer pair"]]:
        """Return the values of each language and part of a metric, at the sites of one stack or of all."""
        chosen = self.languages if language is None else [self._language(language)]
        stacks = [site.stack for site in self.sites(metric)]
        if stack is not None and stack not in stacks:
            known = list(dict.fromkeys(stacks))
            raise ArgumentError(f"stack={stack!r} was not measured by {metric}; choose from {known}")
        values = [result.values[code].double().numpy() for code in chosen for result in self._results(metric)]
        if stack is None:
            return values
        own = [place for place, name in enumerate(stacks) if name == stack]
        return [layers[own] for layers in values]
