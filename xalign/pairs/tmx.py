"""Read parallel text from a TMX file, the exchange form of translation memories, such as OPUS gives."""

from collections.abc import Sequence
from pathlib import Path
from xml.parsers import expat

from xalign.errors import PairsError
from xalign.pairs.bitext import Bitext
from xalign.pairs.joined import Unjoined
from xalign.pairs.lines import read_bytes

# Elements that hold the markup of the document that was translated, and no words of the sentence.
_CODES = frozenset(("bpt", "ept", "it", "ph", "ut"))


def read_tmx(path: Path, languages: Sequence[str] | None, pivot: str) -> dict[str, Bitext[str]]:
    """Read a TMX file, packed with gzip if its name ends in `.gz`.

    A language has the units that hold both it and the pivot. The words of a segment are read; codes of the
    document that it comes from (`bpt`, `ept`, `it`, `ph`, `ut`) are not. A document type may be named, but it
    may not declare entities, and none is resolved.

    Args:
        path: The file.
        languages: The languages asked for; None for all.
        pivot: Code of the pivot language.

    Returns:
        Language code -> bitext, without the pivot.

    Raises:
        PairsError: The file is no valid TMX, declares entities, has an empty segment or two segments of one
            language in a unit, or not the pivot. The error says the line.
        ArgumentError: A language is unknown, ambiguous or not there.

    Reference:
        TMX 1.4b Specification, Localization Industry Standards Association, 2005.
    """
    reader = _Reader(path)
    reader.parse(read_bytes(path))
    return reader.found.join(languages, pivot)


class _Reader:
    """Follow the elements of a TMX file."""

    def __init__(self, path: Path) -> None:
        self.found = Unjoined(str(path), "line")
        self._path = path
        self._unit = -1
        self._seen: set[str] = set()
        self._language: str | None = None
        self._line = 0
        self._inside: list[str] = []
        self._text: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse_entity
        self._parser.SkippedEntityHandler = self._refuse_entity

    def parse(self, data: bytes) -> None:
        """Read the whole file."""
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            what = expat.errors.messages[error.code]
            raise PairsError(f"{self._path}, line {error.lineno} is not valid XML: {what}") from None
        if not self.found.sides:
            raise PairsError(f"{self._path} has no translation unit with a segment (<tu>, <tuv>, <seg>)")

    def _fail(self, why: str) -> PairsError:
        return PairsError(f"{self._path}, line {self._parser.CurrentLineNumber}: {why}")

    def _refuse_entity(self, name: str, *_: object) -> None:
        raise self._fail(
            f"the entity {name!r:.60} is declared or used; entities can make a small file endless, so none "
            "but those of XML itself are read; write the characters themselves"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._inside and name != "tmx":
            raise self._fail(f"the file is no TMX: its first element is <{name:.40}>, not <tmx>")
        self._inside.append(name)
        if name == "tu":
            self._unit += 1
            self._seen = set()
            if "tuid" in attributes:
                self.found.ids[self._unit] = attributes["tuid"]
        elif name == "tuv":
            self._language = attributes.get("xml:lang", attributes.get("lang"))
            if not self._language:
                raise self._fail("a <tuv> must name its language: xml:lang='de'")
            if self._language.lower() in self._seen:
                raise self._fail(
                    f"a second segment of {self._language!r:.40} in one <tu>; remove one of them"
                )
            self._seen.add(self._language.lower())
        elif name == "seg":
            self._text, self._line = [], self._parser.CurrentLineNumber

    def _end(self, name: str) -> None:
        self._inside.pop()
        if name == "seg" and self._language is not None:
            self.found.add(self._language, self._unit, "".join(self._text), self._line)
        elif name == "tuv":
            self._language = None

    def _characters(self, text: str) -> None:
        if "seg" in self._inside and not _CODES.intersection(self._inside):
            self._text.append(text)
