"""docs/support.md, whose parts are made from the results of different tests."""

from dataclasses import dataclass

from tests.tiny import ROOT

PAGE = ROOT / "docs" / "support.md"


@dataclass(frozen=True)
class Part:
    """A part of the page: its heading, and the heading that follows."""

    title: str
    following: str

    def on(self, page: str) -> str:
        """Return the part as it stands on a page; nothing where it does not."""
        start = page.find(self.title)
        return "" if start < 0 else page[start : page.index(self.following)]

    def put(self, page: str, part: str) -> str:
        """Return a page with another part in its place."""
        before = self.on(page)
        page = page.replace(before, "") if before else page
        at = page.index(self.following)
        return page[:at] + part + page[at:]


STEERING = Part("## Steering × decoding", "## Every cell")
VERSIONS = Part("## Versions", STEERING.title)
FRAMEWORKS = Part("## Frameworks", VERSIONS.title)
# The parts that are made by other tests than those of the trainers; each is put before the last one.
OTHERS = (STEERING, VERSIONS, FRAMEWORKS)
