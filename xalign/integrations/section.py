"""`Section`: the part of a framework's config file that is for xalign."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import known_options
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.measurement.options import MeasureOptions
from xalign.monitor.callback import AlignmentCallback
from xalign.monitor.monitor import AlignmentMonitor
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.schema import read_settings
from xalign.training.arguments import AlignmentArguments
from xalign.training.config import AlignmentConfig

NAME = "xalign"
# The arguments of `load_pairs`, the first one under the name it has everywhere else.
_PAIRS = ("pairs", "languages", "pivot", "n")
# What no file holds.
_OF_PYTHON = {"trainer", "tokenizer", "trackers", "options", "subtract", "steered"}


@dataclass(frozen=True, slots=True)
class Section:
    """What a config file asks of xalign: what to measure along the run, and what to align.

    Its keys are `pairs`, `languages`, `pivot` and `n`, as `load_pairs` has them (`pairs` is its source), and
    those arguments of `AlignmentCallback` that a file can hold. `align` holds fields of `AlignmentConfig`.

    Attributes:
        values: The keys with their values.

    Raises:
        ArgumentTypeError: A key that does not exist; the nearest one is named. Or no keys and values.
        ArgumentError: Neither `pairs` nor `align`.

    Example:
        >>> callback = Section({"pairs": "bundled", "languages": ["deu"], "every": 100}).callback()
    """

    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse what a typing mistake makes of it."""
        if not isinstance(self.values, Mapping):
            raise ArgumentTypeError(f"{NAME}: must hold keys and values, not {self.values!r:.60}")
        known = {*_PAIRS, *signature(AlignmentCallback).parameters, *MeasureOptions.__annotations__}
        known_options(f"the section {NAME}", map(str, self.values), (known | {"align"}) - _OF_PYTHON)
        if self.values.get("pairs") is None and self.values.get("align") is None:
            raise ArgumentError(f"{NAME}: give pairs, to measure on them, or align, to train on others")
        if self.values.get("align") is not None:
            self.align()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Section":
        """Take the section out of a whole config.

        Raises:
            ArgumentError: There is none; a key that is nearly its name is named.
        """
        if config.get(NAME) is None:
            near = get_close_matches(NAME, map(str, config), n=1)
            meant = f"; did you mean it by {near[0]!r}?" if near else ""
            raise ArgumentError(f"the config has no section {NAME!r}{meant} See docs/integrations.md")
        return cls(config[NAME])

    @classmethod
    def read(cls, argument: str, path: str | Path) -> "Section":
        """Take the section out of a YAML file.

        Args:
            argument: What names the file, for messages.
            path: The file.

        Raises:
            ArgumentError: It cannot be read, or has no section.
        """
        return cls.of(read_settings(argument, path))

    @property
    def measures(self) -> bool:
        """Whether it says what to measure on."""
        return self.values.get("pairs") is not None

    def refuse_align(self, why: str) -> None:
        """Raise an error where `align` is asked of a framework that cannot have a loss added.

        Raises:
            ArgumentError: It is.
        """
        if self.values.get("align") is not None:
            raise ArgumentError(
                f"{NAME}: align has no effect here: {why}. Leave it out to measure alone; to train, use "
                "xalign.with_alignment on a trainer of your own, or axolotl"
            )

    def callback(self, trainer: Any = None) -> AlignmentCallback:
        """Return the callback.

        Args:
            trainer: The trainer it will be added to; None where it will be given among its `callbacks`.

        Raises:
            ArgumentError, PairsError: As for `AlignmentCallback` and `load_pairs`.
        """
        given = (self._load(),) if trainer is None else (trainer, self._load())
        return AlignmentCallback(*given, **self._options())

    def monitor(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: str | Path
    ) -> AlignmentMonitor:
        """Return the monitor for a loop that is not a trainer of transformers.

        Args:
            model: The model.
            tokenizer: Its tokenizer.
            folder: Where the run is kept; history and reports go into `alignment` there.

        Raises:
            ArgumentTypeError: A key that only a trainer can follow, such as `keep_best`.
        """
        return AlignmentMonitor(
            model, tokenizer, self._load(), save_dir=Path(folder) / "alignment", **self._options()
        )

    def align(self) -> AlignmentConfig | None:
        """Return what to align; None where nothing is said of it.

        Raises:
            ArgumentTypeError: A key that `AlignmentConfig` does not have; the nearest one is named.
            ArgumentError: A value that is not allowed.
        """
        asked = self.values.get("align")
        if asked is None:
            return None
        if not isinstance(asked, Mapping):
            raise ArgumentTypeError(f"{NAME}: align must hold keys and values, not {asked!r:.60}")
        known_options(f"align in the section {NAME}", map(str, asked), signature(AlignmentConfig).parameters)
        if asked.get("pairs") is None:
            raise ArgumentError(f"{NAME}: align needs pairs to train on, others than those that are measured")
        config: AlignmentConfig = AlignmentArguments(**{f"align_{key}": asked[key] for key in asked}).config()
        return config

    def _load(self) -> ParallelPairs[Any]:
        source: Any
        source, *others = (self.values.get(key) for key in _PAIRS)
        named = {key: value for key, value in zip(_PAIRS[1:], others, strict=True) if value is not None}
        if not isinstance(source, ParallelPairs):
            return load_pairs(source, **named)
        if named:
            raise ArgumentError(
                f"{', '.join(named)} choose from what is loaded, and these pairs are loaded already"
            )
        return source

    def _options(self) -> dict[str, Any]:
        return {str(key): value for key, value in self.values.items() if key not in (*_PAIRS, "align")}
