"""`LanguageAdapters`: one adapter per language on a frozen model, switched by language."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from xalign.checks import names
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.extras import import_extra
from xalign.languages import normalize_language
from xalign.model.wrapped import adapter_disabled, has_adapter

_WEIGHTS = "adapter_config.json"


class LanguageAdapters:
    """One adapter per language on a frozen model; the pivot language runs without one.

    Each adapter is trained by itself, so that languages do not disturb each other: adding one later changes
    no other, and the pivot stays bit-identical. They are ordinary PEFT adapters, named by the code of their
    language.

    Args:
        model: A model without adapters, or a `PeftModel` whose adapters are named by languages. The model
            inside a `PeftModel` is changed in place.
        config: The config of new adapters, such as a `LoraConfig`; not needed if none is added.
        languages: The languages that get a new adapter.
        pivot: The language that gets none.

    Attributes:
        model: The `PeftModel`.
        pivot: The pivot language.

    Raises:
        ArgumentError: The pivot among the languages, an unknown language, adapters of other names, or no
            language at all.
        ArgumentTypeError: Something other than a model.
        MissingExtraError: PEFT is not installed.

    Reference:
        Huang et al. (2024), Modular Sentence Encoders, §3.3: an adapter per language is aligned with the
        frozen English encoder. They train parallel bottleneck adapters; any adapter of PEFT may stand here.

    Example:
        >>> from peft import LoraConfig
        >>> adapters = LanguageAdapters(model, LoraConfig(target_modules=["query"]), languages=["de", "es"])
        >>> adapters.languages
        ['deu_Latn', 'spa_Latn']
        >>> with adapters.use("deu_Latn"):
        ...     _ = model(**batch)
    """

    def __init__(
        self,
        model: nn.Module,
        config: Any = None,
        *,
        languages: Sequence[str] = (),
        pivot: str = "eng_Latn",
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentTypeError(f"model must be a model, not {type(model).__name__}")
        self.model: Any = model
        self.pivot = normalize_language(pivot)
        if has_adapter(model):
            for name in self.languages:
                _check_name(name)
        for language in names("languages", languages):
            self.add(language, config)
        if not has_adapter(self.model):
            raise ArgumentError(
                "languages is empty, and the model has no adapter; give at least one language"
            )

    @property
    def languages(self) -> list[str]:
        """The languages that have an adapter."""
        return [str(name) for name in self.model.peft_config]

    def add(self, language: str, config: Any) -> None:
        """Add a new adapter for a language. The others, and the pivot, stay as they are.

        Raises:
            ArgumentError: The pivot, a language that has an adapter, or no config.
        """
        code = normalize_language(language)
        if code == self.pivot:
            raise ArgumentError(f"languages has {code}, the pivot, which runs without an adapter")
        if has_adapter(self.model) and code in self.model.peft_config:
            raise ArgumentError(f"{code} has an adapter already")
        if config is None:
            raise ArgumentError("config is needed for a new adapter, such as peft.LoraConfig(...)")
        own = copy.deepcopy(config)  # PEFT writes into it
        if has_adapter(self.model):
            self.model.add_adapter(code, own)
        else:
            self.model = _peft().get_peft_model(self.model, own, adapter_name=code)

    @contextmanager
    def use(self, language: str) -> Iterator[None]:
        """Use the adapter of a language inside the `with`; the pivot uses none.

        It can be passed to `measure(..., steered=adapters.use)`. During training, only the parameters of this
        adapter are trainable. Afterwards the adapter that was active before is active again.

        Raises:
            ArgumentError: A language without an adapter; the message lists those that have one.
        """
        code = self._there(language)
        if code == self.pivot:
            with adapter_disabled(self.model):
                yield
            return
        before = self.model.active_adapter
        try:
            self.model.set_adapter(code)
            yield
        finally:
            self.model.set_adapter(before)

    def rows(self, languages: Sequence[str]) -> list[str]:
        """Return what PEFT takes as `adapter_names=` for a batch of several languages, in evaluation mode.

        Args:
            languages: The language of each line, for example from a language identifier.

        Raises:
            ArgumentError: As for `use`.

        Example:
            >>> from peft import LoraConfig
            >>> adapters = LanguageAdapters(model, LoraConfig(target_modules=["query"]), languages=["de"])
            >>> adapters.rows(["eng_Latn", "deu_Latn"])
            ['__base__', 'deu_Latn']
        """
        codes = [self._there(one) for one in names("languages", languages)]
        return ["__base__" if code == self.pivot else code for code in codes]

    def save_pretrained(self, folder: str | Path) -> None:
        """Save each adapter in a folder of its own, named by its language, as PEFT does."""
        self.model.save_pretrained(str(folder), selected_adapters=self.languages)

    @classmethod
    def from_pretrained(
        cls, model: nn.Module, folder: str | Path, *, pivot: str = "eng_Latn"
    ) -> "LanguageAdapters":
        """Load the adapters that `save_pretrained` wrote, onto the model that they were trained on.

        Raises:
            ArgumentError: A folder without an adapter named by a language.
        """
        found = sorted(path.parent for path in Path(folder).glob(f"*/{_WEIGHTS}"))
        if not found:
            raise ArgumentError(f"folder={str(folder)!r:.200} holds no adapters; give one that was saved")
        for path in found:
            _check_name(path.name)
        first, *others = found
        loaded = _peft().PeftModel.from_pretrained(model, first, adapter_name=first.name)
        for path in others:
            loaded.load_adapter(path, adapter_name=path.name)
        return cls(loaded, pivot=pivot)

    def _there(self, language: str) -> str:
        try:
            code = normalize_language(language)
        except ArgumentError as error:  # such as "und", by which an identifier says that it does not know
            raise ArgumentError(f"{error}. Of adapters {self._listed()}") from None
        if code != self.pivot and code not in self.model.peft_config:
            raise ArgumentError(f"language={language!r} has no adapter; {self._listed()}")
        return code

    def _listed(self) -> str:
        return f"there is {', '.join(self.languages)}, and {self.pivot} runs without one"

    def __repr__(self) -> str:
        """List the languages."""
        return f"LanguageAdapters({', '.join(self.languages)}; pivot {self.pivot})"


def _check_name(name: str) -> None:
    """Raise an error for an adapter that is not named by the code of a language."""
    try:
        code = normalize_language(name)
    except ArgumentError:
        code = ""
    if code != name:
        raise ArgumentError(
            f"the adapter {name!r} is not named by a language's code, like 'deu_Latn'; rename it"
        )


def _peft() -> Any:
    return import_extra("peft", "train", "adapters need PEFT")
