"""`write_confusion_page`: answers in the wrong language, where they change language, what an edit changes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from xalign.errors import ArgumentError, ReportError
from xalign.files import html_file
from xalign.storage import writable_folder, write_whole

MOST = 400  # answers shown; a page with thousands is slow to open

_SCRIPT = """
const buttons = [...document.querySelectorAll(".filters button")];
for (const button of buttons) button.addEventListener("click", () => {
  for (const other of buttons) if (other.dataset.by === button.dataset.by)
    other.setAttribute("aria-pressed", String(other === button));
  const wanted = Object.fromEntries(buttons.filter(one => one.getAttribute("aria-pressed") === "true")
    .map(one => [one.dataset.by, one.dataset.value]));
  for (const card of document.querySelectorAll(".card"))
    card.hidden = Object.entries(wanted).some(([by, value]) => value && card.dataset[by] !== value);
});
"""


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer as the page shows it.

    Attributes:
        language: The wanted language.
        prompt: The prompt.
        answer: The answer without an edit.
        found: In which languages its judged lines are, as text.
        flip: `right`, `wrong`, `mended` or `broken`; without an edit one of the first two.
        point: The answer before its confusion point, the token there, and what follows; None without one.
        edited: The answer with the edit; None without one.
        edited_found: In which languages the judged lines of that answer are.
        edited_point: Its confusion point, as `point`.
    """

    language: str
    prompt: str
    answer: str
    found: str
    flip: str
    point: tuple[str, str, str] | None = None
    edited: str | None = None
    edited_found: str = ""
    edited_point: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class ShownRate:
    """The line pass rate of a language, or of all.

    Attributes:
        language: The language.
        before: The rate without an edit.
        judged: How many answers were judged, of how many.
        most_wrong: The language that most wrong lines are in.
        wpr: The word pass rate, where it is known.
        after: The rate with the edit; None without one.
        low: The lower end of the 95 % interval of the change.
        high: Its upper end.
    """

    language: str
    before: float
    judged: str
    most_wrong: str
    wpr: float | None = None
    after: float | None = None
    low: float | None = None
    high: float | None = None


def write_confusion_page(
    path: str | Path,
    title: str,
    rates: Sequence[ShownRate],
    answers: Sequence[ShownAnswer],
    about: Mapping[str, str],
    notes: Iterable[str] = (),
) -> Path:
    """Write a page about answers in the wrong language: one file that needs neither network nor server.

    Args:
        path: The file to write, which must end in `.html`; replaced where it exists.
        title: What was asked, such as the name of the model.
        rates: The rates, one per language.
        answers: The answers. The first 400 are shown: mended and broken ones, then wrong ones, then the rest.
        about: What else to say, such as the identifier.
        notes: Sentences that a reader has to know about the rates.

    Returns:
        The path of the file.

    Raises:
        ArgumentError: Another ending, or no answer.
        ReportError: The file cannot be written.

    Example:
        >>> rates = [ShownRate("deu_Latn", 0.0, "1 of 1", "eng_Latn")]
        >>> point = ("", "It", " rains.")
        >>> answers = [ShownAnswer("deu_Latn", "Wie?", "It rains.", "eng_Latn", "wrong", point)]
        >>> write_confusion_page("confusion.html", "A model", rates, answers, {}).name
        'confusion.html'
    """
    path = html_file("path", path)
    if not answers:
        raise ArgumentError("answers is empty; there is nothing to show")
    writable_folder(path.parent, ReportError)
    style = "".join(files("xalign.views").joinpath(name).read_text("utf-8") for name in _STYLES)
    order = ["mended", "broken", "wrong", "right"]
    shown = sorted(answers, key=lambda one: order.index(one.flip))[:MOST]
    parts = [
        f'<header><h1>{escape(title)}</h1><p class="soft">{_lead(answers)}</p></header><main>',
        _rates(rates, notes),
        _points(answers),
        _cards(shown, len(answers)),
        f"<section><h2>About</h2><dl>{''.join(map(_term, about.items()))}</dl></section></main>",
    ]
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{style}</style></head><body>"
    text = f"{head}{''.join(parts)}<script>{_SCRIPT}</script></body></html>"
    write_whole(path, text.encode("utf-8", "backslashreplace"), ReportError)
    return path


_STYLES = ("page.css", "confusion.css")


def _lead(answers: Sequence[ShownAnswer]) -> str:
    """Say in a sentence what came of the answers."""
    counts = Counter(one.flip for one in answers)
    wrong = counts["wrong"] + counts["mended"]
    languages = len({one.language for one in answers})
    said = f"{len(answers)} answers in {languages} wanted language{'s' if languages > 1 else ''}: "
    said += f"{wrong} have a line in another language, or none that is long enough"
    if any(one.edited is not None for one in answers):
        said += f"; the edit mends {counts['mended']} of them and breaks {counts['broken']} others. "
        slips = sum(one.edited_point is not None for one in answers)
        said += f"{slips} answers with the edit hold a token that looks English, which is marked"
    return escape(f"{said}.")


def _rates(rates: Sequence[ShownRate], notes: Iterable[str]) -> str:
    """Return the table of line pass rates."""
    edited = any(one.after is not None for one in rates)
    worded = any(one.wpr is not None for one in rates)
    columns = ["language", "before → after" if edited else "line pass rate", ""]
    columns += ["change, 95 % interval"] * edited + ["words"] * worded + ["judged", "wrong lines in"]
    rows = []
    for one in rates:
        numbers = f"{one.before:.2f}" + (f" → {one.after:.2f}" if one.after is not None else "")
        cells = [escape(one.language), numbers, _dumbbell(one)]
        if edited:
            known = one.after is not None and one.low is not None and one.high is not None
            cells.append(f"{one.after - one.before:+.2f} [{one.low:+.2f}, {one.high:+.2f}]" if known else "")  # type: ignore[operator]
        if worded:
            cells.append("" if one.wpr is None else f"{one.wpr:.2f}")
        cells += [escape(one.judged), escape(one.most_wrong)]
        first, *rest = cells
        row = "".join(f"<td>{cell}</td>" for cell in rest)
        rows.append(f'<tr><th scope="row">{first}</th>{row}</tr>')
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    said = "".join(f'<p class="soft">{escape(note)}</p>' for note in notes)
    what = "Share of answers of which every line is in the wanted language."
    return (
        f'<section><h2>Line pass rate</h2><p class="soft">{what}</p><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{said}</section>"
    )


def _dumbbell(one: ShownRate) -> str:
    """Draw a rate on a line from 0 to 1, and where the edit takes it."""
    x = 5 + 210 * one.before
    mark = f'<circle cx="{x:.1f}" cy="9" r="4" fill="var(--paper)" stroke="var(--mark)" stroke-width="2"/>'
    if one.after is not None:
        y = 5 + 210 * one.after
        line = f'<line x1="{x:.1f}" x2="{y:.1f}" y1="9" y2="9" stroke="var(--mark)" stroke-width="2"/>'
        mark = f'{line}{mark}<circle cx="{y:.1f}" cy="9" r="4.5" fill="var(--mark)"/>'
    axis = '<line class="axis" x1="5" x2="215" y1="9" y2="9"/>'
    return f'<svg class="dumbbell" viewBox="0 0 220 18" aria-hidden="true">{axis}{mark}</svg>'


def _points(answers: Sequence[ShownAnswer]) -> str:
    """Return the table of the tokens at which answers slip."""
    slips: dict[str, list[tuple[str, str, str]]] = {}
    for one in answers:
        if one.point is not None:
            slips.setdefault(one.language, []).append(one.point)
    if not slips:
        return ""
    rows = []
    for language, points in sorted(slips.items()):
        first = sum(not before.strip() for before, _, _ in points)
        tokens = Counter(token for _, token, _ in points).most_common(6)
        shown = ", ".join(f"<mark>{escape(token)}</mark> {count}" for token, count in tokens)
        rows.append(
            f'<tr><th scope="row">{escape(language)}</th><td>{len(points)}</td><td>{first}</td>'
            f"<td>{shown}</td></tr>"
        )
    head = "".join(
        f'<th scope="col">{column}</th>'
        for column in ("language", "answers that slip", "at their first word", "most often at")
    )
    what = "The first English token of an answer, generated greedily without the edit."
    return (
        f'<section><h2>Confusion points</h2><p class="soft">{what}</p><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _cards(shown: Sequence[ShownAnswer], total: int) -> str:
    """Return the answers, with buttons that choose among them."""
    flips = [one for one in ("mended", "broken", "wrong", "right") if any(a.flip == one for a in shown)]
    languages = sorted({one.language for one in shown})
    filters = "".join(
        f'<div class="legend filters">{"".join(_button(by, value) for value in ("", *values))}</div>'
        for by, values in (("flip", flips), ("language", languages))
        if len(values) > 1
    )
    left = f'<p class="soft">{total - len(shown)} more are not shown.</p>' if total > len(shown) else ""
    cards = "".join(map(_card, shown))
    return f'<section><h2>Answers</h2>{filters}<div class="cards">{cards}</div>{left}</section>'


def _button(by: str, value: str) -> str:
    pressed = "true" if not value else "false"
    data = f'data-by="{by}" data-value="{escape(value)}" aria-pressed="{pressed}"'
    return f'<button type="button" {data}>{escape(value or "all")}</button>'


def _card(one: ShownAnswer) -> str:
    """Return an answer beside the one with the edit."""
    answer = _marked(one.answer, one.point, one.language)
    sides = _side("without the edit" if one.edited is not None else "answer", answer, one.found)
    if one.edited is not None:
        edited = _marked(one.edited, one.edited_point, one.language)
        sides += _side("with the edit", edited, one.edited_found)
    data = f'data-flip="{one.flip}" data-language="{escape(one.language)}"'
    head = f'{escape(one.language)} · <span class="flip flip-{one.flip}">{one.flip}</span>'
    prompt = f'<p class="prompt" dir="auto">{escape(one.prompt)}</p>' if one.prompt else ""
    body = f'<header>{head}</header>{prompt}<div class="sides">{sides}</div>'
    return f'<article class="card" {data}>{body}</article>'


def _marked(answer: str, point: tuple[str, str, str] | None, language: str) -> str:
    """Return an answer in which its confusion point is marked."""
    if point is None:
        return escape(answer)
    before, token, after = map(escape, point)
    gap = " " if before and not before[-1].isspace() and language[-4:] not in _NO_BLANKS else ""
    follows = " " if after and after[0].isalnum() and answer.count(f"{point[1]} ") else ""
    mark = f'<mark title="confusion point">{token}</mark>'
    return f'{before}{gap}{mark}{follows}<span class="slipped">{after}</span>'


_NO_BLANKS = ("Hans", "Hant", "Jpan", "Thai")


def _side(name: str, answer: str, found: str) -> str:
    judged = f" · {escape(found)}" if found else ""
    return f'<div class="side"><h3>{name}{judged}</h3><p dir="auto">{answer or "(nothing)"}</p></div>'


def _term(pair: tuple[str, str]) -> str:
    return f"<dt>{escape(pair[0])}</dt><dd>{escape(pair[1])}</dd>"
