"""The part of a page that a program makes: it stands between two comments."""

END = "<!-- until here -->\n"


def with_part(page: str, program: str, part: str) -> str:
    """Return a page with another part in the place of the one that a program made."""
    begin = f"<!-- made by benchmarks/{program}.py -->\n"
    before, after = page.index(begin) + len(begin), page.index(END)
    return page[:before] + "\n" + part + "\n" + page[after:]
