"""Read parallel speech from a folder of WAV files, `LANGUAGE/ID.wav`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xalign.errors import ArgumentError, PairsError
from xalign.pairs.audio import Audio
from xalign.pairs.bitext import Bitext
from xalign.pairs.languages import normalize_language

_OTHER_SOUND = (".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".webm")


def audio_languages(folder: Path) -> dict[str, Path]:
    """Return language -> its folder of recordings; empty where the folder holds no parallel speech.

    Raises:
        PairsError: Two folders of one language, or recordings of a format that is not read.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        code = _language(path.name) if path.is_dir() and not path.name.startswith(".") else None
        if code is None:
            continue
        suffixes = {file.suffix.lower() for file in path.iterdir()}
        other = suffixes & set(_OTHER_SOUND)
        if other:
            raise PairsError(
                f"{path} holds {', '.join(sorted(other))} files, and only WAV files are read; convert them, "
                "for example with ffmpeg -i a.mp3 -ac 1 -ar 16000 a.wav"
            )
        if ".wav" not in suffixes:
            continue
        if code in found:
            raise PairsError(
                f"{folder}: {found[code].name} and {path.name} are both {code}; move one of them"
            )
        found[code] = path
    return found


def read_audio_folder(
    folders: Mapping[str, Path], pivot: str, wanted: Sequence[str], n: int | None
) -> dict[str, Bitext[Any]]:
    """Read the recordings of the pivot and of some languages. Files of one name are translations.

    Args:
        folders: Language -> its folder.
        pivot: Code of the pivot language.
        wanted: The languages to read, without the pivot.
        n: How many recordings of each language to read, the first ones by name; all if None.

    Returns:
        Language code -> bitext, without the pivot.

    Raises:
        PairsError: A language that lacks a recording, no recordings of the pivot, fewer than n, or a file
            that cannot be used.
    """
    if pivot not in folders:
        raise PairsError(f"there is no folder for the pivot {pivot}; there are {', '.join(folders)}")
    files = {code: _by_id(folders[code]) for code in (pivot, *wanted)}
    for code in wanted:
        for one, other in ((code, pivot), (pivot, code)):
            missing = [name for name in files[other] if name not in files[one]]
            if missing:
                more = " …" if len(missing) > 5 else ""
                raise PairsError(
                    f"{folders[one]} lacks {len(missing)} recording(s) that {folders[other]} has: "
                    f"{', '.join(missing[:5])}{more}; add them, or remove them from every language"
                )
    ids = tuple(files[pivot])
    if n is not None and n > len(ids):
        raise PairsError(f"n={n} is more than the {len(ids)} recordings of each language")
    ids = ids if n is None else ids[:n]
    sides = {code: tuple(Audio.from_file(of[name]) for name in ids) for code, of in files.items()}
    return {code: Bitext(code, pivot, sides[code], sides[pivot], ids) for code in wanted}


def _by_id(folder: Path) -> dict[str, Path]:
    """Return id -> file, in the order of the ids, numbers in them by value."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: _in_order(path.stem)):
        if path.suffix.lower() == ".wav" and not path.name.startswith("."):
            if path.stem in found:
                raise PairsError(f"{found[path.stem]} and {path.name} have one id; rename one of them")
            found[path.stem] = path
    return found


def _in_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _language(name: str) -> str | None:
    try:
        return normalize_language(name)
    except ArgumentError:
        return None
