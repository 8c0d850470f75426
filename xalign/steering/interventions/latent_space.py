"""`LatentSpace`: a joint space of languages at one site of a model, learnt from parallel text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import known_options, positive
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.escape import code
from xalign.finding.activations import activations, check_texts
from xalign.finding.provenance import origin_of
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.retrieval import RETRIEVAL
from xalign.model.architectures.sites import Pool, Site
from xalign.schema import Fields, Provenance, Text, checked
from xalign.steering.interventions.autoencoder import WEIGHTS, Autoencoder
from xalign.steering.interventions.fit_autoencoder import AutoencoderOptions, fit_autoencoder
from xalign.steering.interventions.reading import READING
from xalign.units.artefact import card_of, checked_provenance, load_artefact, save_artefact

KIND = "xalign.LatentSpace"


class _SpaceFields(Fields):
    site: Text
    pool: Pool
    explained: Annotated[float, Meta(le=1)]
    retrieved: dict[str, float]
    raw_retrieved: dict[str, float]
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """A joint space of several languages at one site of a model.

    Attributes:
        site: Where the states are read.
        pool: How tokens were pooled over a sentence.
        autoencoder: From the states to the space and back.
        explained: The share of the states' variance that the space reproduces, on sentences that it was not
            fitted on.
        retrieved: Language -> the share of these sentences whose translation in the first language is
            nearest in the space, a mean of both directions.
        raw_retrieved: The same for the states themselves.
        provenance: Where it comes from: model, revision, shape of the model, settings, fingerprint of the
            text.
    """

    site: Site
    pool: Pool
    autoencoder: Autoencoder
    explained: float
    retrieved: Mapping[str, float]
    raw_retrieved: Mapping[str, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the space, its provenance and a card into a folder, completely or not at all.

        Raises:
            UnitsError: A folder that cannot be written.
        """
        tensors = {name: getattr(self.autoencoder, name) for name in WEIGHTS}
        content = {
            "site": str(self.site),
            "pool": self.pool,
            "explained": self.explained,
            "retrieved": dict(self.retrieved),
            "raw_retrieved": dict(self.raw_retrieved),
            "provenance": dict(self.provenance),
        }
        facts = f"- site: {code(self.site)}\n- latent width: {self.autoencoder.latent}\n"
        card = card_of("A latent space", self.provenance, f"{facts}- explained: {self.explained:.3f}\n")
        return save_artefact(folder, KIND, content, tensors, self._parse, card)

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> "LatentSpace":
        """Read a space from a folder, or from the Hub where there is no such folder.

        Args:
            source: A folder or a Hub id.
            revision: Branch, tag or commit on the Hub.

        Raises:
            UnitsError: Nothing there, or files that were changed or damaged.
        """
        return load_artefact(source, KIND, cls._parse, revision)

    @classmethod
    def _parse(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> "LatentSpace":
        found = checked(_SpaceFields, content)
        if set(tensors) != set(WEIGHTS) or any(one.dtype != torch.float32 for one in tensors.values()):
            raise ArgumentError(
                f"the tensors must be {', '.join(WEIGHTS)}, all float32, not {sorted(tensors)}"
            )
        return cls(
            Site.parse(found.site),
            found.pool,
            Autoencoder(**tensors),
            found.explained,
            found.retrieved,
            found.raw_retrieved,
            checked_provenance(found.provenance),
        )

    def __repr__(self) -> str:
        """Show the site and the widths."""
        size = f"{self.autoencoder.width} to {self.autoencoder.latent}"
        return f"LatentSpace({size} at {self.site}, explains {self.explained:.3f})"


def fit_latent_space(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    site: str | Site,
    *,
    options: AutoencoderOptions | None = None,
    pool: Pool = "mean",
    held_out: float = 0.2,
    **reading: Any,
) -> LatentSpace:
    """Learn a joint space of several languages at one site, from the states of parallel text.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Language -> sentences, line by line translations of one another; the first language is the one
            that retrieval is measured with.
        site: Where, such as `"5.hidden"`.
        options: How the autoencoder is fitted; the defaults if None.
        pool: How tokens are pooled over a sentence.
        held_out: The share of the lines that are kept out of the fit to judge it, above 0.
        **reading: Those of `activations` that are for reading, such as `token_budget`.

    Returns:
        The space, with what it explains and how well translations are retrieved in it.

    Raises:
        ArgumentError: Languages of different lengths, too few sentences for the width, or a fit that
            diverges.

    Reference:
        Peng et al. (2025), as in `fit_autoencoder`.

    Example:
        >>> texts = load_pairs("bundled", ["deu_Latn"], n=40).texts
        >>> options = AutoencoderOptions(latent=4, steps=100)
        >>> fit_latent_space(model, tokenizer, texts, "1.hidden", options=options)
        LatentSpace(32 to 4 at 1.hidden, explains ...)
    """
    known_options("fit_latent_space", reading, READING)
    check_texts(texts, least=2)
    lines = _lines(texts)
    states = _states(model, tokenizer, texts, site, pool, reading)
    options = options or AutoencoderOptions()
    judged = _judged(lines, held_out)
    found = fit_autoencoder({code: one[~judged] for code, one in states.items()}, options)
    unseen = {code: one[judged] for code, one in states.items()}
    latent = {code: found.encode(one) for code, one in unseen.items()}
    settings = {"site": str(site), "pool": pool, "held_out": held_out} | options.to_dict() | reading
    return LatentSpace(
        Site.parse(site) if isinstance(site, str) else site,
        pool,
        found,
        found.explained_variance(torch.cat(list(unseen.values()))),
        _retrieval(latent),
        _retrieval(unseen),
        origin_of(model, texts, "fit_latent_space", settings),
    )


def _lines(texts: Mapping[str, Sequence[str]]) -> int:
    """Return how many sentences there are of each language."""
    lengths = {code: len(lines) for code, lines in texts.items()}
    if len(set(lengths.values())) > 1:
        raise ArgumentError(f"texts have {lengths} sentences; give translations, line by line")
    return next(iter(lengths.values()))


def _states(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    site: str | Site,
    pool: Pool,
    reading: Mapping[str, Any],
) -> dict[str, Float[Tensor, "pair width"]]:
    """Return the states of each language."""
    if not isinstance(site, str | Site) or (isinstance(site, str) and "." not in site):
        raise ArgumentTypeError(f"site={site!r:.60} must be one site, like '5.hidden'")
    (read,) = activations(model, tokenizer, texts, site, pool=pool, **reading)
    return {code: read.values[read.of(number)] for number, code in enumerate(texts)}


def _judged(n: int, share: float) -> Tensor:
    """Return a mask of the lines that judge the fit, spread evenly."""
    count = round(positive("held_out", share) * n)
    if not 2 <= count < n:
        raise ArgumentError(
            f"held_out={share} of {n} lines is {count}; at least 2 must be kept out, and some be left"
        )
    mask = torch.zeros(n, dtype=torch.bool)
    mask[torch.linspace(0, n - 1, count).round().long()] = True
    return mask


def _retrieval(states: Mapping[str, Float[Tensor, "pair width"]]) -> dict[str, float]:
    """Return for each language but the first the share of nearest sentences that are translations."""
    (_, pivot), *others = states.items()
    found = {}
    for language, values in others:
        similarity = cosine_matrix(pivot, values)
        shares = [float(bits(similarity).double().mean()) for bits in RETRIEVAL.rows.values()]
        found[language] = sum(shares) / len(shares)
    return found
