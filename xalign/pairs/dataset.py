"""`pairs_from_dataset`: parallel speech out of the audio columns of a dataset."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.audio import Audio
from xalign.pairs.parallel import ParallelPairs
from xalign.pairs.wav import read_wav


def pairs_from_dataset(
    dataset: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str],
    pivot: str = "eng_Latn",
    *,
    id_column: str | None = None,
    source: str | None = None,
) -> ParallelPairs[Audio]:
    """Make parallel speech of the audio columns of a `datasets.Dataset`: row i of all is one sentence.

    Args:
        dataset: A dataset, or any list of rows, each of which maps columns to values. An audio value is what
            `datasets` gives: a decoder of torchcodec; a mapping with `array` and `sampling_rate`; or, of a
            column that is not decoded, one with `bytes` or `path`, which must then be WAV.
        columns: Language code -> the column of its recordings, the pivot included.
        pivot: The language that all others are compared with.
        id_column: A column of identifiers; rows are numbered from 0 where None.
        source: Where the recordings come from, for provenance.

    Raises:
        ArgumentError: A column that is not there, or a recording that cannot be used; the error names both.
        ArgumentTypeError: A value that is no audio.

    Example:
        >>> import numpy as np
        >>> tone = lambda height: {"array": np.sin(np.arange(8000) * height), "sampling_rate": 16000}
        >>> rows = [{"english": tone(0.1), "german": tone(0.2)}, {"english": tone(0.3), "german": tone(0.4)}]
        >>> pairs_from_dataset(rows, {"en": "english", "de": "german"})
        ParallelPairs(eng_Latn with deu_Latn; 2 pairs each)
    """
    if not isinstance(columns, Mapping):
        raise ArgumentTypeError(f"columns={columns!r:.60} must map language codes to names of columns")
    sides: dict[str, list[Audio]] = {code: [] for code in columns}
    ids: list[str] = []
    for row, values in enumerate(dataset):
        for name in (*columns.values(), *([] if id_column is None else [id_column])):
            if name not in values:
                raise ArgumentError(f"the dataset has no column {name!r}; it has {', '.join(values)}")
        ids.append(str(row if id_column is None else values[id_column]))
        for code, column in columns.items():
            try:
                sides[code].append(_audio_of(values[column]))
            except (ArgumentError, ArgumentTypeError, PairsError) as error:
                raise type(error)(f"row {row} of column {column!r}: {error}") from None
    return ParallelPairs(sides, pivot, ids=ids, source=source)


def _audio_of(value: Any) -> Audio:
    """Return a recording in any of the forms in which `datasets` gives one."""
    if isinstance(value, Audio):
        return value
    if hasattr(value, "get_all_samples"):  # a decoder of torchcodec; its data are [channel, sample]
        decoded = value.get_all_samples()
        return Audio(decoded.data.T, int(decoded.sample_rate))
    if isinstance(value, Mapping) and value.get("array") is not None:
        return Audio(value["array"], value["sampling_rate"])
    if isinstance(value, Mapping) and value.get("bytes") is not None:
        return Audio(*read_wav(io.BytesIO(value["bytes"]), "the recording"))
    if isinstance(value, Mapping) and value.get("path") is not None:
        return Audio.from_file(Path(value["path"]))
    raise ArgumentTypeError(
        f"a value of type {type(value).__name__} is no audio; cast the column with "
        "dataset.cast_column(name, datasets.Audio())"
    )
