"""`Spec`: what a YAML file asks a sweep to measure, and how."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from xalign.checks import known_options
from xalign.errors import ArgumentError
from xalign.measurement.options import ReadOptions
from xalign.metrics import METRICS
from xalign.metrics.metric import resolve_metrics
from xalign.model.inputs import TextOptions
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.schema import Count, Fields, Size, Text, checked, read_settings
from xalign.sweep.engines import ENGINES

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
# What can be the name of one folder.
FolderName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\Z")]


class ModelFields(Fields):
    """A model of a sweep: one folder or Hub id, its revisions, or the checkpoints of a run.

    Attributes:
        model: A folder, or a Hub id.
        name: The folder for its reports; made of `model` where None.
        revisions: Branches, tags or commits on the Hub.
        checkpoints: Steps of checkpoints in the folder, or `all`.
    """

    model: Text
    name: FolderName | None = None
    revisions: list[Text] | None = None
    checkpoints: list[Count] | Literal["all"] | None = None


class PairsFields(Fields):
    """Parallel sentences of a sweep: the arguments of `load_pairs`."""

    pairs: Text = "bundled"
    languages: list[Text] | None = None
    pivot: Text = "eng_Latn"
    n: Size | None = None

    def load(self) -> ParallelPairs[Any]:
        """Load them."""
        return load_pairs(self.pairs, self.languages, self.pivot, self.n)


class Measuring(Fields):
    """What is measured of every model: it is the same in all reports of a folder.

    Attributes:
        pairs: Name -> sentences. The name is a folder of the reports.
        metrics: Names of metrics.
        options: Options of `measure` that a file can hold, such as `template` and `pool`.
        dtype: As in `xalign measure`.
    """

    pairs: dict[FolderName, PairsFields] = msgspec.field(default_factory=lambda: {"bundled": PairsFields()})
    metrics: list[Text] = msgspec.field(default_factory=lambda: ["nasca"])
    options: dict[str, Any] = {}
    dtype: Dtype = "auto"


class Loading(Fields):
    """How every model is loaded.

    Attributes:
        dtype: As in `Measuring`.
        device: `auto`, `cpu`, `cuda`. With `auto`, each of several local workers has a GPU of its own.
        tokenizer: Hub id or folder of another tokenizer than a model's own.
        trust_remote_code: Run code that comes with a model.
    """

    dtype: Dtype = "auto"
    device: Text = "auto"
    tokenizer: Text | None = None
    trust_remote_code: bool = False


class Spec(Measuring, kw_only=True):
    """What a YAML file says.

    Attributes:
        models: What is measured; a folder or Hub id alone stands for `{model: …}`.
        out: The folder of all reports.
        device: As in `Loading`, and so are `tokenizer` and `trust_remote_code`.
        tokenizer: See `device`.
        trust_remote_code: See `device`.
        engine: Who runs the tasks: a name in `xalign.sweep.engines.ENGINES`.
        workers: How many tasks run at once.
        engine_options: Options of the engine, such as `partition` and `time` of `slurm`.
    """

    models: list[Text | ModelFields]
    out: Text
    device: Text = "auto"
    tokenizer: Text | None = None
    trust_remote_code: bool = False
    engine: Text = "local"
    workers: Size = 1
    engine_options: dict[str, Any] = {}

    @property
    def measuring(self) -> Measuring:
        """What must agree in all reports of the folder."""
        return Measuring(pairs=self.pairs, metrics=self.metrics, options=self.options, dtype=self.dtype)

    @property
    def loading(self) -> Loading:
        """How models are loaded."""
        return Loading(
            dtype=self.dtype,
            device=self.device,
            tokenizer=self.tokenizer,
            trust_remote_code=self.trust_remote_code,
        )


def load_spec(path: str | Path, **changes: object) -> Spec:
    """Read a YAML file.

    Args:
        path: The file. Its keys are the fields of `Spec`.
        **changes: Values in place of the file's; those that are None change nothing.

    Raises:
        ArgumentError: It cannot be read, holds unknown keys or metrics, or lacks needed ones.

    Example:
        >>> _ = Path("sweep.yaml").write_text("{models: [gpt2], pairs: {few: {n: 20}}, out: swept}")
        >>> spec = load_spec("sweep.yaml", workers=2)
        >>> spec.pairs["few"].n, spec.workers
        (20, 2)
    """
    said = read_settings("spec", path)
    try:
        spec = checked(Spec, said | {key: one for key, one in changes.items() if one is not None})
        _check(spec)
    except ArgumentError as error:
        raise ArgumentError(f"spec={str(path)!r}: {error}") from None
    return spec


def _check(spec: Spec) -> None:
    for name, some in (("models", spec.models), ("pairs", spec.pairs), ("metrics", spec.metrics)):
        if not some:
            raise ArgumentError(f"{name} is empty; name at least one")
    if spec.engine not in ENGINES:
        raise ArgumentError(f"engine={spec.engine!r} is unknown; choose from {', '.join(ENGINES)}")
    resolve_metrics(spec.metrics, METRICS)
    text, read = (
        {field for field in options.__dataclass_fields__ if field not in ("subtract", "steered")}
        for options in (TextOptions, ReadOptions)
    )
    known_options("options", spec.options, text | read)
    TextOptions(**{key: one for key, one in spec.options.items() if key in text})
    ReadOptions(**{key: one for key, one in spec.options.items() if key in read})
    template = spec.options.get("template")
    if template is not None and (not isinstance(template, str) or template.count("{text}") != 1):
        raise ArgumentError(
            f"template={template!r:.80} must hold {{text}} exactly once, like 'query: {{text}}'"
        )
