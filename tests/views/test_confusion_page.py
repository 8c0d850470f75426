"""The page of language confusion: what it shows, and that names and sentences are data."""

import json
import re
import subprocess

import pytest

from xalign.errors import ArgumentError
from xalign.views.confusion_page import MOST, ShownAnswer, ShownRate, write_confusion_page

RATES = [ShownRate("deu_Latn", 0.25, "4 of 4", "eng_Latn", None, 0.75, 0.1, 0.9)]
EVIL = "<script>document.title='x'</script>"
ANSWERS = [
    ShownAnswer("deu_Latn", "Wie?", "Es regnet.", "deu_Latn", "right", None, "Es regnet.", "deu_Latn"),
    ShownAnswer(
        "deu_Latn",
        EVIL,
        "Ja it rains",
        "eng_Latn",
        "mended",
        ("Ja", "it", " rains"),
        "Ja so.",
        "deu_Latn",
        ("Ja", "so", "."),
    ),
    ShownAnswer("rus_Cyrl", "Как?", "", "no line", "wrong", None, "", ""),
]


def test_flips_come_first_with_their_point(tmp_path):
    text = write_confusion_page(
        tmp_path / "p.html", "A & B", RATES, ANSWERS, {"model": "<m>"}, ["mind"]
    ).read_text(encoding="utf-8")
    assert "0.25 → 0.75" in text and "+0.50 [+0.10, +0.90]" in text
    assert 'Ja <mark title="confusion point">it</mark><span class="slipped"> rains</span>' in text
    cards = re.findall('<article class="card" data-flip="(.*?)"', text)
    assert cards == ["mended", "wrong", "right"]
    assert EVIL not in text and "&lt;script&gt;" in text and "A &amp; B" in text and "&lt;m&gt;" in text
    assert "the edit mends 1 of them and breaks 0 others" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_long_list_is_cut_and_said(tmp_path):
    text = write_confusion_page(tmp_path / "p.html", "A", RATES, ANSWERS[:1] * (MOST + 7), {}).read_text(
        "utf-8"
    )
    assert "7 more are not shown" in text


def test_what_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="must end in .html"):
        write_confusion_page(tmp_path / "p.txt", "A", RATES, ANSWERS, {})
    with pytest.raises(ArgumentError, match="answers is empty"):
        write_confusion_page(tmp_path / "p.html", "A", RATES, [], {})


@pytest.mark.browser
def test_a_button_leaves_the_chosen_answers(tmp_path, browser):
    page = write_confusion_page(tmp_path / "p.html", "A", RATES, ANSWERS, {})
    press = """<script>
      document.querySelector('[data-by="flip"][data-value="mended"]').click();
      const left = [...document.querySelectorAll(".card")].filter(one => !one.hidden);
      document.title = JSON.stringify(left.map(one => one.dataset.flip));
    </script></body>"""
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", press), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(dom.split("<title>")[1].split("</title>")[0]) == ["mended"]
