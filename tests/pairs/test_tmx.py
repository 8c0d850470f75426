"""TMX files: what is read of them, and what is refused."""

import gzip

import pytest

from xalign import load_pairs
from xalign.errors import PairsError, XAlignError

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n<header srclang="en"/>\n<body>\n'
TAIL = "</body>\n</tmx>\n"


def unit(*segments, tuid=None):
    """One unit on one line."""
    inside = "".join(f'<tuv xml:lang="{code}"><seg>{text}</seg></tuv>' for code, text in segments)
    return f"<tu{'' if tuid is None else f' tuid={chr(34)}{tuid}{chr(34)}'}>{inside}</tu>\n"


@pytest.fixture
def tmx(tmp_path):
    def write(*units, head=HEAD, name="memory.tmx"):
        path = tmp_path / name
        data = (head + "".join(units) + TAIL).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.mark.parametrize("name", ["memory.tmx", "memory.tmx.gz"])
def test_units_are_pairs(tmx, name):
    path = tmx(
        unit(("en", "Good morning."), ("de", "Guten Morgen."), ("fr-FR", "Bonjour."), tuid="a"),
        unit(("fr-FR", "Il pleut."), ("en", "It rains &amp; pours."), tuid="b"),
        unit(("de", "Wo ist\ner?"), ("en", "Where is he?"), tuid="c"),
        name=name,
    )
    with pytest.warns(UserWarning, match=r"not read \(deu_Latn 1, fra_Latn 1\)"):
        pairs = load_pairs(path)
    assert pairs.languages == ["deu_Latn", "fra_Latn"]
    assert pairs["de"].sentences == ("Guten Morgen.", "Wo ist\ner?")
    assert pairs["de"].pivot_sentences == ("Good morning.", "Where is he?")
    assert pairs["de"].ids == ("a", "c")
    assert pairs["fr"].pivot_sentences == ("Good morning.", "It rains & pours.")


def test_codes_of_the_document_are_not_words(tmx):
    marked = (
        'Press <bpt i="1">&lt;b&gt;<sub>tip</sub></bpt>the <hi>red</hi> key<ept i="1">&lt;/b&gt;</ept><ph/>.'
    )
    path = tmx(unit(("en", marked), ("de", "Eins")), unit(("en", "Two"), ("de", "Zwei")))
    assert load_pairs(path)["de"].pivot_sentences[0] == "Press the red key."


def test_variants_of_one_language(tmx):
    path = tmx(
        unit(("en-US", "color"), ("de", "Farbe")),
        unit(("EN-GB", "colour"), ("de", "Farben")),
        unit(("en-us", "gray"), ("de", "Grau")),
        unit(("en-US", "center"), ("de", "Mitte")),
    )
    assert load_pairs(path)["de"].pivot_sentences == ("color", "colour", "gray", "center")
    apart = [
        unit(("en", x), (f"fr-{region}", x.upper()))
        for x, region in zip("abcd", ["CA", "FR"] * 2, strict=True)
    ]
    assert load_pairs(tmx(*apart))["fr"].sentences == ("A", "B", "C", "D")
    with pytest.warns(UserWarning, match="fra_Latn 2"):
        assert load_pairs(tmx(*apart), ["fr-CA"])["fr"].sentences == ("A", "C")
    both = [unit(("en", x), ("pt-BR", f"{x} B"), ("pt-PT", f"{x} P")) for x in "ab"]
    with pytest.raises(PairsError, match="several of por_Latn: 'pt-BR', 'pt-PT'; name the one you mean"):
        load_pairs(tmx(*both), ["pt"])
    assert load_pairs(tmx(*both), ["pt-PT"])["pt"].sentences == ("a P", "b P")


def test_a_document_type_is_named_but_not_read(tmx):
    head = HEAD.replace("<tmx ", '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx ')
    path = tmx(unit(("en", "a"), ("de", "b")), unit(("en", "c"), ("de", "d")), head=head)
    assert load_pairs(path)["de"].sentences == ("b", "d")
    path = tmx(unit(("en", "a &what; b"), ("de", "b")), head=head)
    with pytest.raises(PairsError, match="line 6: the entity 'what' is declared or used"):
        load_pairs(path)


def test_an_ambiguous_language(tmx):
    path = tmx(unit(("en", "a"), ("zh", "b")), unit(("en", "c"), ("zh", "d")))
    with pytest.raises(PairsError, match="'zh' is ambiguous"):
        load_pairs(path)
    assert load_pairs(path, ["zho_Hans"])["zho_Hans"].sentences == ("b", "d")


BOMB = '<!DOCTYPE tmx [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>\n<tmx '
FILE = '<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n<tmx '
PARAMETER = '<!DOCTYPE tmx [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>\n<tmx '


@pytest.mark.parametrize("declared", [BOMB, FILE, PARAMETER])
def test_entities_are_refused(tmx, declared):
    path = tmx(unit(("en", "x"), ("de", "&b;")), head=HEAD.replace("<tmx ", declared))
    with pytest.raises(PairsError, match="line 2: the entity 'a' is declared or used"):
        load_pairs(path)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (
            [unit(("en", "a"), ("de", "b")), unit(("en", "c"), ("de", " "))],
            "line 6: the sentence of deu_Latn is empty",
        ),
        ([unit(("en", "a"), ("de", "b"), ("DE", "c"))], "line 5: a second segment of 'DE' in one <tu>"),
        (["<tu><tuv><seg>a</seg></tuv></tu>"], "line 5: a <tuv> must name its language"),
        ([unit(("en", "a"), ("de", "b")), "<tu>"], "line 6 is not valid XML: mismatched tag"),
        ([unit(("en", "a &what; b"), ("de", "b"))], "line 5 is not valid XML: undefined entity"),
        ([], "has no translation unit with a segment"),
        ([unit(("en", "a"), ("de", "b"))], "deu_Latn has 1 pair"),
        ([unit(("fr", "a"), ("de", "b"))], "no sentences of the pivot eng_Latn; it has fra_Latn, deu_Latn"),
        ([unit(("en", "a")), unit(("de", "b"))], "no line of deu_Latn belongs to one of the pivot"),
    ],
)
def test_what_is_refused(tmx, units, message):
    with pytest.raises(XAlignError, match=message):
        load_pairs(tmx(*units))


def test_another_kind_of_xml(tmp_path):
    (tmp_path / "a.tmx").write_text("<html><body/></html>")
    with pytest.raises(PairsError, match="line 1: the file is no TMX: its first element is <html>"):
        load_pairs(tmp_path / "a.tmx")
