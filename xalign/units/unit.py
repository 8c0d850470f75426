"""`Unit`: one chosen coordinate of a site."""

from dataclasses import dataclass

from xalign.model.architectures.sites import Site

FACTORS = "factors"
"""What `settings["value"]` of a provenance says if the values are factors to multiply by."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One coordinate of a site, chosen for a label.

    Attributes:
        label: What it was chosen for, most often a language.
        site: Its site.
        index: Its coordinate at the site, from 0.
        score: How well it fits its label, in the terms of the method that found it. Higher is better.
        value: The value it takes on text of its label; steering sets it to this value.
        kind: How many of the labels share it: `specific` where one does, `related` where several do,
            `general` where all do; empty where the method that found it does not tell.
    """

    label: str
    site: Site
    index: int
    score: float
    value: float
    kind: str = ""

    @property
    def key(self) -> tuple[str, Site, int]:
        """Label, site and index: two rows with the same key are the same row."""
        return self.label, self.site, self.index

    @property
    def place(self) -> tuple[Site, int]:
        """Site and index."""
        return self.site, self.index
