"""`LanguageVector`: a direction per site that stands for a language."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn

from xalign.checks import number, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.escape import code, markdown
from xalign.model.architectures.sites import POOLS, STATES, Pool, Reading, Site, State
from xalign.schema import Fields, Provenance, Text, checked
from xalign.units.agreed import agreed
from xalign.units.artefact import card_of, checked_provenance, load_artefact, push_artefact, save_artefact

KIND = "xalign.LanguageVector"


class _VectorFields(Fields):
    label: Text
    sites: Annotated[list[Text], Meta(min_length=1)]
    state: State
    pool: Pool
    provenance: Provenance


@dataclass(frozen=True)
class LanguageVector:
    """One vector per site for a language.

    `steer` adds it to the values at every token of a running model. `measure(..., subtract=)` subtracts it
    from pooled states, and does not change the run.

    `a + b`, `a - b`, `-a` and `2 * a` are computed site by site. Two vectors must have the same sites, state
    and pool. The result keeps the provenance that both agree on.

    Attributes:
        label: What it stands for, most often a language.
        vectors: Site -> vector of the site's width, float32.
        provenance: Where it comes from: model, revision, shape of the model, method, settings, fingerprint of
            the data.
        state: The state it is a mean of. Only means of `"value"` can be added to a running model.
        pool: How tokens were pooled before the mean.

    Raises:
        ArgumentError: No site, a vector that is not finite, or an unknown state or pool.
        ArgumentTypeError: `vectors` is not a mapping from sites to vectors.

    Example:
        >>> vector = LanguageVector("deu_Latn", {Site("hidden", 1): torch.ones(8)})
        >>> vector
        LanguageVector(deu_Latn at 1.hidden)
        >>> vector - 2 * LanguageVector("eng_Latn", {Site("hidden", 1): torch.ones(8)})
        LanguageVector(deu_Latn - eng_Latn at 1.hidden)
    """

    label: str
    vectors: Mapping[Site, Tensor]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    state: State = "value"
    pool: Pool = "weighted"

    def __post_init__(self) -> None:
        """Check the vectors."""
        if not isinstance(self.label, str) or not self.label:
            raise ArgumentTypeError(f"label={self.label!r:.60} must be text, like 'deu_Latn'")
        if not isinstance(self.vectors, Mapping):
            raise ArgumentTypeError(f"vectors must map sites to tensors, not be {self.vectors!r:.60}")
        if not self.vectors:
            raise ArgumentError("vectors is empty; give at least one site")
        if self.state not in STATES or self.pool not in POOLS:
            raise ArgumentError(
                f"state={self.state!r} must be one of {', '.join(STATES)}, and pool={self.pool!r} one of "
                f"{', '.join(POOLS)}"
            )
        for site, vector in self.vectors.items():
            if not isinstance(site, Site) or not isinstance(vector, Tensor) or vector.dim() != 1:
                raise ArgumentTypeError(f"vectors must map sites to tensors [width], not {site!r:.60}")
            if not bool(vector.isfinite().all()):
                raise ArgumentError(f"the vector of site {site} is not finite")

    def __add__(self, other: "LanguageVector") -> "LanguageVector":
        """Return the sum at each site."""
        return self._combined(other, 1.0, "+")

    def __sub__(self, other: "LanguageVector") -> "LanguageVector":
        """Return the difference at each site."""
        return self._combined(other, -1.0, "-")

    def __mul__(self, factor: float) -> "LanguageVector":
        """Return the vectors times a number; the label stays."""
        factor = number("factor", factor)
        return replace(self, vectors={site: factor * vector for site, vector in self.vectors.items()})

    __rmul__ = __mul__

    def __neg__(self) -> "LanguageVector":
        """Return the vectors in the opposite direction; the label stays."""
        return self * -1.0

    def _combined(self, other: object, sign: float, symbol: str) -> "LanguageVector":
        if not isinstance(other, LanguageVector):
            raise ArgumentTypeError(
                f"a LanguageVector {symbol} something takes a LanguageVector, not {type(other).__name__}"
            )
        for name in ("state", "pool"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ArgumentError(
                    f"the vectors of {self.label} and {other.label} differ in {name}: {mine} and {theirs}; "
                    f"find both with the same {name}"
                )
        sizes, others = (
            {str(site): len(vector) for site, vector in one.vectors.items()} for one in (self, other)
        )
        if sizes != others:
            differing = sorted({*sizes.items()} ^ {*others.items()})
            raise ArgumentError(
                f"the vectors of {self.label} and {other.label} are not of the same sites and widths: "
                f"{', '.join(f'{site} ({width})' for site, width in differing)} is in one of them only"
            )
        vectors = {site: vector + sign * other.vectors[site] for site, vector in self.vectors.items()}
        label = f"{self.label} {symbol} {other.label}"
        origin = agreed(self.provenance, other.provenance, "vectors")
        return LanguageVector(label, vectors, origin, self.state, self.pool)

    def random(self, seed: int = 0) -> "LanguageVector":
        """Return a control: random directions of the same norms at the same sites.

        Each label gets directions of its own. The same direction for all languages would move them all in the
        same way, which changes their alignment little, whatever the direction is.

        Args:
            seed: The same seed and label give the same directions.
        """
        key = f"{whole_number('seed', seed)} {self.label}".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:7]))
        drawn = {}
        for site, vector in self.vectors.items():
            noise = torch.randn(len(vector), generator=generator)
            drawn[site] = noise * (vector.norm() / noise.norm())
        return replace(self, label=f"{self.label} random {seed}", vectors=drawn)

    @property
    def readings(self) -> dict[Reading, Tensor]:
        """Reading -> the vector that belongs to what is read there."""
        return {Reading(site, self.state, self.pool): vector for site, vector in self.vectors.items()}

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the vectors, their provenance and a card into a folder, completely or not at all.

        As with `save_pretrained` of transformers, a set or a vector that the folder holds is replaced.

        Raises:
            UnitsError: A folder that cannot be written, or provenance that JSON cannot hold.
        """
        tensors = {str(site): vector.float() for site, vector in self.vectors.items()}
        content = {
            "label": self.label,
            "sites": list(tensors),
            "state": self.state,
            "pool": self.pool,
            "provenance": dict(self.provenance),
        }
        title = f"A vector for {markdown(self.label)}"
        card = card_of(title, self.provenance, f"- sites: {', '.join(map(code, tensors))}\n")
        return save_artefact(folder, KIND, content, tensors, self._parse, card)

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> "LanguageVector":
        """Read vectors from a folder, or from the Hub where there is no such folder.

        Args:
            source: A folder or a Hub id.
            revision: Branch, tag or commit on the Hub.

        Raises:
            UnitsError: Nothing there, or files that were changed or damaged.
        """
        return load_artefact(source, KIND, cls._parse, revision)

    @classmethod
    def _parse(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> "LanguageVector":
        found = checked(_VectorFields, content)
        if set(found.sites) != set(tensors) or len(found.sites) != len(tensors):
            raise ArgumentError(f"sites={found.sites!r:.80} are not those of the tensors")
        for site, vector in tensors.items():
            if vector.dtype != torch.float32 or vector.dim() != 1 or not len(vector):
                raise ArgumentError(
                    f"the vector of site {site} is {vector.dtype} of shape {tuple(vector.shape)}; it must be "
                    "float32 [width]"
                )
        vectors = {Site.parse(site): tensors[site] for site in found.sites}
        if list(map(str, vectors)) != found.sites:
            raise ArgumentError(f"sites={found.sites!r:.80} are not written as xalign writes them")
        provenance = checked_provenance(found.provenance)
        return cls(found.label, vectors, provenance, found.state, found.pool)

    def export(self, format: str, path: str | Path, model: nn.Module | None = None, **options: Any) -> Path:
        """Write what `steer` does with these vectors in a form that other programs load.

        Args:
            format: `"gguf"`, `"lm-eval"`, `"peft"` or `"weights"`; see `xalign.exports.export`.
            path: The folder or the file.
            model: The model that is edited; `"gguf"` can do without.
            **options: `operator`, `strength` and others of `xalign.exports.export`.

        Returns:
            The path.

        Raises:
            XAlignError: What the format cannot express, with what to do instead.
        """
        from xalign.exports.export import export

        return export(self, format, path, model, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the vectors with their card.

        Args:
            repo_id: `owner/name`; it is created if it does not exist.
            **options: `private`, `token` and `commit_message`, as in huggingface_hub.

        Returns:
            The URL of the commit.
        """
        return push_artefact(self, repo_id, **options)

    def __repr__(self) -> str:
        """Show the label and the sites."""
        return f"LanguageVector({self.label} at {', '.join(map(str, self.vectors))})"
