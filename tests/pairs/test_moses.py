"""Bitexts in two files, as OPUS packs them; packed files."""

import gzip

import pytest

from xalign import load_pairs
from xalign.errors import PairsError, XAlignError
from xalign.pairs import lines

ENGLISH = ["Good morning.", "It rains.", "Where is he?"]
GERMAN = ["Guten Morgen.", "Es regnet.", "Wo ist er?"]


def write(path, sentences):
    data = ("\n".join(sentences) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("end", ["", ".gz", ".txt"])
@pytest.mark.parametrize("corpus", ["", "Tatoeba.", "news-commentary-v16.", "OpenSubtitles.v2018."])
def test_one_bitext_by_name(tmp_path, corpus, end):
    write(tmp_path / f"{corpus}de-en.en{end}", ENGLISH)
    write(tmp_path / f"{corpus}de-en.de{end}", GERMAN)
    write(tmp_path / "other.de-en.de", ["x", "y"])  # of no concern where the corpus is named
    write(tmp_path / "other.de-en.en", ["x", "y"])
    (tmp_path / f"{corpus}de-en.xml").write_text("not text")
    (tmp_path / f"{corpus}de-en.ids").write_text("not text")
    for name in (f"{corpus}de-en", f"{corpus}de-en.en{end}", f"{corpus}de-en.de{end}"):
        pairs = load_pairs(tmp_path / name)
        assert pairs["de"].sentences == tuple(GERMAN)
        assert pairs["de"].pivot_sentences == tuple(ENGLISH)
    assert load_pairs(tmp_path / f"{corpus}de-en", pivot="de").languages == ["eng_Latn"]
    with pytest.raises(
        PairsError, match="are both of deu_Latn with eng_Latn|are both of eng_Latn with deu_Latn"
    ):
        load_pairs(tmp_path)


def test_a_folder_of_bitexts_with_regions(tmp_path):
    for other, sentences in (("de", GERMAN), ("pt_BR", ["a", "b", "c"]), ("zh_CN", ["d", "e", "f"])):
        write(tmp_path / f"tico-19.en-{other}.en", ENGLISH)
        write(tmp_path / f"tico-19.en-{other}.{other}", sentences)
    pairs = load_pairs(tmp_path)
    assert sorted(pairs.languages) == ["deu_Latn", "por_Latn", "zho_Hans"]
    assert pairs["zh"].sentences == ("d", "e", "f")


def test_an_ambiguous_code_means_the_language_that_is_asked_for(tmp_path):
    for code, sentences in (("zh", ["d", "e", "f"]), ("de", GERMAN)):
        write(tmp_path / f"NLLB.en-{code}.en", ENGLISH)
        write(tmp_path / f"NLLB.en-{code}.{code}", sentences)
    for source in (tmp_path, tmp_path / "NLLB.en-zh", tmp_path / "NLLB.en-zh.zh"):
        with pytest.raises(
            PairsError, match="'zh' is ambiguous: choose one of zho_Hans, zho_Hant; say which it is"
        ):
            load_pairs(source)
        assert load_pairs(source, ["zho_Hant"])["zho_Hant"].sentences == ("d", "e", "f")
    assert load_pairs(tmp_path, ["de"]).languages == ["deu_Latn"]
    write(tmp_path / "pairs.tsv", ["en\tzh", "a\tb", "c\td"])
    assert load_pairs(tmp_path / "pairs.tsv", ["zho_Hans"]).languages == ["zho_Hans"]
    (tmp_path / "n-way").mkdir()
    write(tmp_path / "n-way" / "eng.txt", ENGLISH)
    write(tmp_path / "n-way" / "zh.txt.gz", GERMAN)
    assert load_pairs(tmp_path / "n-way", ["zho_Hans"])["zh"].sentences == tuple(GERMAN)


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ({"c.de-en.de": GERMAN}, "c.de-en", r"c\.de-en\.de has no other side"),
        (
            {"c.de-en.de": GERMAN, "c.de-en.en": ENGLISH[:2]},
            "c.de-en",
            r"line 3 of c\.de-en\.de has no partner",
        ),
        ({"c.de-en.de": GERMAN[:1], "c.de-en.en": ENGLISH}, "", r"line 2 of c\.de-en\.en has no partner"),
        ({"c.de-en.de": [*GERMAN[:2], ""], "c.de-en.en": ENGLISH}, "c.de-en", "the first at line 3"),
        ({"c.de-fr.de": GERMAN, "c.de-fr.fr": GERMAN}, "c.de-fr", "is of .* not of the pivot eng_Latn"),
        (
            {"c.de-en.de": GERMAN, "c.de-en.de.gz": GERMAN, "c.de-en.en": ENGLISH},
            "",
            "are the same side of one",
        ),
        (
            {"c.de-en.de": GERMAN, "c.de-en.de.gz": GERMAN, "c.de-en.en": ENGLISH},
            "c.de-en",
            "the same side of one",
        ),
        ({}, "c.de-en", "does not exist; give .* or one side of a bitext"),
    ],
)
def test_what_is_refused(tmp_path, files, name, message):
    for file, sentences in files.items():
        write(tmp_path / file, sentences)
    with pytest.raises(XAlignError, match=message):
        load_pairs(tmp_path / name)


def test_packed_files(tmp_path, monkeypatch):
    write(tmp_path / "pairs.tsv.gz", ["en\tde", "a\tb", "c\td"])
    assert load_pairs(tmp_path / "pairs.tsv.gz")["de"].sentences == ("b", "d")
    write(tmp_path / "pairs.jsonl.gz", ['{"en": "a", "de": "b"}', '{"en": "c", "de": "d"}'])
    assert load_pairs(tmp_path / "pairs.jsonl.gz")["de"].sentences == ("b", "d")
    whole = (tmp_path / "pairs.tsv.gz").read_bytes()
    for broken in (b"no gzip", whole[:-4], whole[:12] + b"\xff" * 9 + whole[21:]):
        (tmp_path / "broken.tsv.gz").write_bytes(broken)
        with pytest.raises(PairsError, match="is no whole gzip file"):
            load_pairs(tmp_path / "broken.tsv.gz")
    monkeypatch.setattr(lines, "MOST_UNPACKED", 10)
    with pytest.raises(PairsError, match="unpacks to more than 10 bytes"):
        load_pairs(tmp_path / "pairs.tsv.gz")
