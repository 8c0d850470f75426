"""Read data sets of the Hugging Face Hub, named `hf:owner/name`, through the `datasets` library."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from xalign.errors import ArgumentError, PairsError
from xalign.extras import import_extra
from xalign.languages import match_languages
from xalign.pairs.bitext import Bitext
from xalign.pairs.dataset import is_by_language, read_dataset
from xalign.pairs.spellings import chosen_spellings, settled_language

_ID = re.compile(
    r"hf:(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?::(?P<config>[\w.+-]+))?(?:/(?P<split>[\w.]+))?"
)
# Config and split that are read unless others are named: sentences, and the part for testing.
_DEFAULTS = {
    "openlanguagedata/flores_plus": (None, "devtest"),
    "facebook/bouquet": ("sentence_level", "test"),
}


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hub: `hf:owner/name`, then perhaps `@revision`, `:config` and `/split`.

    Attributes:
        id: Owner and name.
        revision: Branch, tag or commit; None for the newest.
        config: Its config, also called a subset; None if it is to be found.
        split: Its split; None if it has only one, or a known default.
    """

    id: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, source: str) -> "HubSource":
        """Parse a source as a user writes it.

        Raises:
            PairsError: It is written in another way.

        Example:
            >>> HubSource.parse("hf:facebook/bouquet:sentence_level/dev").split
            'dev'
        """
        match = _ID.fullmatch(source)
        if match is None:
            raise PairsError(
                f"source={source!r:.120} must be written like 'hf:owner/name', 'hf:owner/name/split' or "
                "'hf:owner/name:config/split'; a revision stands after the name, like 'hf:owner/name@main'"
            )
        return cls(match["id"], match["revision"], match["config"], match["split"])

    @property
    def name(self) -> str:
        """The source as `parse` reads it."""
        marked = ((self.revision, "@"), (self.config, ":"), (self.split, "/"))
        return f"hf:{self.id}" + "".join(f"{mark}{part}" for part, mark in marked if part)

    @property
    def page(self) -> str:
        """The URL of its page."""
        return f"https://huggingface.co/datasets/{self.id}"


def read_hub(
    source: str, languages: Sequence[str] | None, pivot: str, n: int | None
) -> tuple[str, dict[str, Bitext[Any]]]:
    """Read parallel text from a data set of the Hub, or from the copy in the cache of `datasets`.

    Where the configs of the data set are languages, or pairs of them (`de-en`), those of the pivot and of the
    languages asked for are loaded, and no others.

    Args:
        source: `hf:owner/name`, with `@revision`, `:config` and `/split` where needed.
        languages: The languages asked for; None for all.
        pivot: Code of the pivot language.
        n: How many pairs are needed; None reads all.

    Returns:
        What was read, with its config and split, and language code -> bitext without the pivot.

    Raises:
        PairsError: The data set does not exist, may not be read, cannot be reached, or does not hold parallel
            text in a form that is known; or config or split are not there, or have to be named.
        ArgumentError: A language is unknown, ambiguous or not there.
        MissingExtraError: `datasets` is not installed.
    """
    hub = HubSource.parse(source)
    datasets = import_extra("datasets", "data", "'hf:' sources need datasets")
    config, split = _DEFAULTS.get(hub.id, (None, None))
    hub = replace(hub, config=hub.config or config, split=hub.split or split)
    if hub.config is None:
        with _explained(hub):
            configs = list(datasets.get_dataset_config_names(hub.id, revision=hub.revision))
        if is_by_language(configs):
            return _read_configs(datasets, hub, configs, languages, pivot, n)
        if len(configs) > 1 and "default" not in configs:
            return _read_pairs(datasets, hub, configs, languages, pivot, n)
    hub, loaded = _load(datasets, hub)
    return hub.name, read_dataset(loaded, languages, pivot, n, hub.name)


def _read_configs(
    datasets: ModuleType,
    hub: HubSource,
    configs: Sequence[str],
    languages: Sequence[str] | None,
    pivot: str,
    n: int | None,
) -> tuple[str, dict[str, Bitext[Any]]]:
    """Load a config per language."""
    names = [name for name in configs if name != "default"]
    loaded: dict[str, Any] = {}
    for name in chosen_spellings(names, languages, pivot, hub.name).values():
        found, loaded[name] = _load(datasets, replace(hub, config=name))
        hub = replace(hub, split=found.split)
    if len(loaded) == 1:
        return hub.name, {}
    return hub.name, read_dataset(loaded, languages, pivot, n, hub.name)


def _read_pairs(
    datasets: ModuleType,
    hub: HubSource,
    configs: Sequence[str],
    languages: Sequence[str] | None,
    pivot: str,
    n: int | None,
) -> tuple[str, dict[str, Bitext[Any]]]:
    """Load a config per pair of languages, as OPUS has them, of those that are asked for."""
    found: dict[str, list[str]] = {}
    for name in configs:
        with suppress(ArgumentError):  # no pair, or one of a language that is not asked for
            codes = [settled_language(part, languages or ()) for part in name.split("-")]
            if len(codes) == 2 and pivot in codes:  # noqa: PLR2004
                found.setdefault(codes[codes[0] == pivot], []).append(name)
    if languages is None or not found or any(len(names) > 1 for names in found.values()):
        name = next((names[0] for names in found.values()), configs[0])
        hint = f", or name languages (it has pairs of {len(found)} with {pivot})" if found else ""
        raise PairsError(
            f"{hub.name} has the configs {_listed(configs)}; choose one, like "
            f"'{replace(hub, config=name).name}'{hint}"
        )
    there = f"found in {hub.name} with {pivot}; it has {', '.join(found)}"
    bitexts: dict[str, Bitext[Any]] = {}
    for code in match_languages("languages", languages, [*found, pivot], there):
        if code != pivot:
            one, loaded = _load(datasets, replace(hub, config=found[code][0]))
            bitexts |= read_dataset(loaded, [code], pivot, n, one.name)
            hub = replace(hub, split=one.split)
    return hub.name, bitexts


def _load(datasets: ModuleType, hub: HubSource) -> tuple[HubSource, Any]:
    """Load one config, and return what was loaded with the split that it is."""
    with _explained(hub):
        loaded = datasets.load_dataset(hub.id, hub.config, split=hub.split, revision=hub.revision)
    if not isinstance(loaded, Mapping) or is_by_language(loaded):
        return hub, loaded
    if len(loaded) != 1:
        first = next(iter(loaded), "test")
        raise PairsError(
            f"{hub.name} has the splits {_listed(list(loaded))}; choose one, like "
            f"'{replace(hub, split=str(first)).name}'"
        )
    ((split, only),) = loaded.items()
    return replace(hub, split=str(split)), only


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


@contextmanager
def _explained(hub: HubSource) -> Iterator[None]:
    """Say of an error of `datasets` what is wrong, and what to do.

    Raises:
        PairsError: Instead of what `datasets` and `huggingface_hub` raise.
    """
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
    )

    http_error: type[Exception] = HfHubHTTPError.__bases__[0]  # that of the HTTP library, whichever it is
    try:
        yield
    except (GatedRepoError, DatasetNotFoundError, RepositoryNotFoundError) as error:
        if isinstance(error, GatedRepoError) or "gated" in str(error):
            raise PairsError(
                f"{hub.name} is gated: its owner asks who reads it. Agree to the conditions at {hub.page}, "
                "then log in on this machine: hf auth login (or set HF_TOKEN)"
            ) from error
        raise PairsError(
            f"{hub.name} is not on the Hub, or it is private: {_reason(error)}. Look it up at {hub.page}; to "
            "read what is private, log in: hf auth login (or set HF_TOKEN)"
        ) from error
    except (ConnectionError, EntryNotFoundError, FileNotFoundError) as error:
        raise PairsError(_unreached(hub, error)) from error
    except ValueError as error:  # names of configs and splits; it lists those there are
        raise PairsError(f"{hub.name} cannot be loaded: {_reason(error)}") from error
    except (DatasetsError, RuntimeError) as error:
        raise PairsError(f"{hub.name} cannot be loaded: {_reason(error)}. Its page: {hub.page}") from error
    except (OSError, http_error) as error:
        raise PairsError(_unreached(hub, error)) from error


def _unreached(hub: HubSource, error: Exception) -> str:
    return (
        f"{hub.name} cannot be reached, and no copy of it is here: {_reason(error)}. It is at {hub.page}. "
        f"Where there is a network, run: hf download {hub.id} --repo-type dataset --local-dir {hub.id}. "
        f"Copy that folder here, and give {hub.name!r} in the folder that holds {hub.id.split('/')[0]}/. "
        "Or give a folder with a text file per language (eng_Latn.txt, deu_Latn.txt; line i of each is the "
        "same sentence), or a .tsv file with a language per column"
    )


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")
