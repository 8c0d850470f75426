"""`eflomal`: links by the program of this name, where it is installed."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Hashable, Sequence
from pathlib import Path

from xalign.errors import ArgumentError, MissingExtraError
from xalign.links.aligner import Aligner, Links, OneWay, check_sides
from xalign.links.cells import Sentence

PROGRAM = "eflomal-align"


def eflomal(language: Sequence[Sentence], pivot: Sequence[Sentence]) -> tuple[OneWay, OneWay]:
    """Link tokens with eflomal (IBM1, HMM and fertility, sampled), an external program under the GPL.

    It gets numbers in place of tokens, in a folder of its own that is deleted afterwards. Its sampling cannot
    be seeded: results differ a little from run to run.

    Args:
        language: Sentences as tokens, ids or strings.
        pivot: The sentences that they translate.

    Returns:
        As from `ibm1_both`: links (language position, pivot position) of both directions, with eflomal's
        scores.

    Raises:
        MissingExtraError: `eflomal-align` is neither on the path nor beside the running Python.
        ArgumentError: eflomal failed, or wrote something else than links.
        PairsError: Sides of unequal length, no pair, or a sentence without tokens.

    Reference:
        Östling and Tiedemann (2016), Efficient Word Alignment with Markov Chain Monte Carlo.
    """
    check_sides(language, pivot)
    program = _program()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder / "language", language)
        _write(folder / "pivot", pivot)
        files = {
            "-s": "language",
            "-t": "pivot",
            "-f": "to",
            "-r": "from",
            "-F": "to_scores",
            "-R": "from_scores",
        }
        options = [text for flag, file in files.items() for text in (flag, str(folder / file))]
        done = subprocess.run([program, *options, "--overwrite"], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise ArgumentError(f"{PROGRAM} ended with code {done.returncode}: {last:.200}")
        return tuple(_read(folder, side, len(pivot)) for side in ("to", "from"))  # type: ignore[return-value]


EFLOMAL = Aligner("eflomal", eflomal, "the external program eflomal, sampled")


def _program() -> str:
    found = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=str(Path(sys.executable).parent))
    if found is None:
        raise MissingExtraError(
            f"aligner='eflomal' needs the program {PROGRAM}, which is not installed: pip install eflomal "
            "(it compiles C), or take aligner='ibm1'"
        )
    return found


def _write(file: Path, sentences: Sequence[Sentence]) -> None:
    numbers: dict[Hashable, int] = {}
    lines = (
        " ".join(str(numbers.setdefault(token, len(numbers))) for token in sentence) for sentence in sentences
    )
    file.write_text("\n".join(lines) + "\n", encoding="ascii")


def _read(folder: Path, side: str, pairs: int) -> OneWay:
    try:
        lines = (folder / side).read_text(encoding="ascii").splitlines()
        links: Links = [sorted(_link(text) for text in line.split()) for line in lines]
        scores = tuple(map(float, (folder / f"{side}_scores").read_text(encoding="ascii").split()))
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{PROGRAM} wrote something else than links and scores: {error!s:.120}") from None
    if len(links) != pairs or len(scores) != pairs:
        raise ArgumentError(f"{PROGRAM} wrote {len(links)} lines and {len(scores)} scores for {pairs} pairs")
    return OneWay(links, scores)


def _link(text: str) -> tuple[int, int]:
    one, other = text.split("-")
    return int(one), int(other)
