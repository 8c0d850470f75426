import json
import unicodedata

import pytest

from xalign import load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError, XAlignError

ENGLISH = ["Good morning.", "It rains.", "Where is he?"]
GERMAN = ["Guten Morgen.", "Es regnet.", "Wo ist er?"]
FRENCH = ["Bonjour.", "Il pleut.", "Où est-il ?"]


def files(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (
            ["n.eng-deu.eng", "n.eng-deu.deu", "b.eng-deu.eng", "b.eng-deu.deu"],
            "move one bitext",
        ),
        (["eng-deu.eng", "eng-deu.deu", "deu-eng.eng", "deu-eng.deu"], "are both of"),
        (["news.eng-deu.eng", "books.eng-deu.deu"], r"has no other side"),
        (["eng.txt", "deu.txt", "eng-fra.eng", "eng-fra.fra"], "both files per language and bitexts"),
    ],
)
def test_two_bitexts_of_one_pair_are_not_mixed(tmp_path, contents, message):
    with pytest.raises(PairsError, match=message):
        load_pairs(files(tmp_path / "text", dict.fromkeys(contents, ENGLISH)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.tsv",
            "eng\tdeu\tde\na\tb\tc\nd\te\tf\n",
            r"/a\.tsv: columns=\['eng', 'deu', 'de'\] names deu_Latn",
        ),
        ("a.tsv", "eng\tdeu\tdeu\na\tb\tc\nd\te\tf\n", "header names deu more than once"),
        ("a.jsonl", '{"en": "a", "de": "b", "de": "c"}\n', "line 1 is not valid JSON: a key occurs twice"),
        ("a.jsonl", '{"translation": {"en": "a", "de": "b"}, "fr": "c"}', "fr beside 'translation'"),
        ("a.jsonl", '{"en": "a", "de": "b", "id": null}', "'id' must be a string, not None"),
        ("a.jsonl", '{"en": "a", "de": "\\ud800"}\n{"en": "b", "de": "c"}', "half a surrogate pair"),
        ("a.jsonl", "[" * 100_000, "line 1 is not valid JSON"),
        ("a.jsonl", '{"en": "a", "de": "b", "id": ' + "9" * 5000 + "}", "line 1 is not valid JSON"),
        ("a.tsv", "e\0n\tde\na\tb\n", "holds NUL characters"),
        ("a.tsv", "en\tde\na\t\u200b\nb\tc\n", "deu_Latn has 1 empty line"),
    ],
)
def test_broken_tables(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(PairsError, match=message):
        load_pairs(tmp_path / name)


def test_paths_that_cannot_be_read(tmp_path):
    for source in ("x" * 5000, "~no_such_user/text"):
        with pytest.raises(PairsError, match="is not a path that can be read"):
            load_pairs(source)
    folder = files(tmp_path / "text", {"eng.txt": ENGLISH, "deu.txt": GERMAN})
    (folder / "fra.txt").symlink_to("/nonexistent")
    with pytest.raises(PairsError, match=r"fra\.txt cannot be read: No such file"):
        load_pairs(folder)


@pytest.mark.parametrize(
    "names",
    [
        ("eng_Latn.devtest", "deu_Latn.devtest", "fra_Latn.devtest"),  # FLORES
        ("newstest2019-src.eng.txt", "newstest2019-ref.deu.txt", "newstest2019-ref.fra.txt"),  # NTREX
        ("eng_Latn.txt", "deu_Latn.txt", "fra_Latn.txt"),  # MEXA
        ("en.txt", "de.txt", "fr.txt"),
    ],
)
def test_line_aligned_files(tmp_path, names):
    folder = files(tmp_path / "text", dict(zip(names, (ENGLISH, GERMAN, FRENCH), strict=True)))
    (folder / "README.md").write_text("not text")
    (folder / "LICENSE").write_text("not text")
    pairs = load_pairs(folder)
    assert pairs.languages == ["deu_Latn", "fra_Latn"]
    assert pairs.is_multiway
    assert pairs["fra_Latn"].sentences == tuple(FRENCH)
    assert pairs["fra_Latn"].pivot_sentences == tuple(ENGLISH)
    assert pairs.source == "text"


@pytest.mark.parametrize(
    "names",
    [
        ("eng-deu.eng", "eng-deu.deu", "eng-fra.eng", "eng-fra.fra"),
        ("tatoeba.deu-eng.eng", "tatoeba.deu-eng.deu", "tatoeba.fra-eng.eng", "tatoeba.fra-eng.fra"),
        ("en-de.en", "en-de.de", "en-fr.en", "en-fr.fr"),
        (
            "deu_Latn-eng_Latn/eng_Latn.txt",
            "deu_Latn-eng_Latn/deu_Latn.txt",
            "fra_Latn-eng_Latn/eng_Latn.txt",
            "fra_Latn-eng_Latn/fra_Latn.txt",
        ),
    ],
)
def test_bitexts(tmp_path, names):
    contents = (ENGLISH, GERMAN, ENGLISH[::-1][:2], FRENCH[::-1][:2])
    pairs = load_pairs(files(tmp_path / "text", dict(zip(names, contents, strict=True))))
    assert sorted(pairs.languages) == ["deu_Latn", "fra_Latn"]
    assert not pairs.is_multiway
    assert pairs["fra_Latn"].pivot_sentences == tuple(ENGLISH[::-1][:2])
    assert pairs["fra_Latn"].sentences == tuple(FRENCH[::-1][:2])


def test_documents(tmp_path):
    text = {"eng_Latn.devtest": ENGLISH, "deu_Latn.devtest": GERMAN}
    flores = files(
        tmp_path / "flores", text | {"metadata_devtest.tsv": ["URL\tdomain", "a\tx", "a\tx", "b\tx"]}
    )
    assert load_pairs(flores)["de"].documents == ("a", "a", "b")
    ntrex = files(
        tmp_path / "ntrex" / "NTREX-128",
        {"newstest2019-src.eng.txt": ENGLISH, "newstest2019-ref.deu.txt": GERMAN},
    )
    files(tmp_path / "ntrex", {"DOCUMENT_IDS.tsv": ["bbc.1", "bbc.1", "cnn.2"]})
    assert load_pairs(ntrex)["de"].documents == ("bbc.1", "bbc.1", "cnn.2")
    pud = files(tmp_path / "pud", text | {"sent_ids.txt": ["n01001001", "n01001002", "w02003001"]})
    assert load_pairs(pud)["de"].ids == ("n01001001", "n01001002", "w02003001")
    assert load_pairs(pud)["de"].documents == ("n01001", "n01001", "w02003")
    files(tmp_path / "flores", {"metadata_devtest.tsv": ["URL\tdomain", "a\tx"]})
    with pytest.raises(PairsError, match="has 1 lines, but the text has 3"):
        load_pairs(flores)


def test_regional_files(tmp_path):
    folder = files(tmp_path / "text", {"eng.txt": ENGLISH, "fra.txt": FRENCH, "fra-CA.txt": GERMAN})
    assert load_pairs(folder)["fr"].sentences == tuple(FRENCH)
    (folder / "fra.txt").unlink()
    files(folder, {"fra-CH.txt": FRENCH})
    with pytest.raises(PairsError, match=r"fra-CA\.txt and fra-CH\.txt are both fra_Latn"):
        load_pairs(folder)


@pytest.mark.parametrize("other", ["deu_Latn.txt", "de.txt", "de-Latn.txt", "deu_Latn.devtest"])
def test_two_spellings_of_one_language_are_refused(tmp_path, other):
    """`deu.txt` won over `deu_Latn.txt`, and nothing was said."""
    text = {"eng.txt": ENGLISH, "deu.txt": GERMAN, other: FRENCH}
    with pytest.raises(PairsError, match=r"(deu\.txt and|and deu\.txt).* are both deu_Latn"):
        load_pairs(files(tmp_path / "text", text))


def test_files_without_a_language_are_named(tmp_path):
    folder = files(tmp_path / "text", {"eng.txt": ENGLISH, "deu.txt": GERMAN, "notes.txt": ["x"]})
    with pytest.warns(UserWarning, match=r"no language in the name of notes\.txt"):
        load_pairs(folder)


def test_tsv(tmp_path):
    rows = [
        "id\ten\tde\tdocument",
        *(f"s{i}\t{e}\t{g}\td{i // 2}" for i, (e, g) in enumerate(zip(ENGLISH, GERMAN, strict=True))),
    ]
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(rows), encoding="utf-8")
    bitext = load_pairs(path)["de"]
    assert bitext.sentences == tuple(GERMAN)
    assert (bitext.ids, bitext.documents) == (("s0", "s1", "s2"), ("d0", "d0", "d1"))


@pytest.mark.parametrize("nested", [False, True])
def test_jsonl(tmp_path, nested):
    rows = [{"en": e, "de": g} for e, g in zip(ENGLISH, GERMAN, strict=True)]
    rows = [
        {"id": i, "document": "d"} | ({"translation": row} if nested else row) for i, row in enumerate(rows)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    bitext = load_pairs(path, pivot="de")["en"]
    assert bitext.sentences == tuple(ENGLISH)
    assert (bitext.ids, bitext.documents) == (("0", "1", "2"), ("d", "d", "d"))


def test_a_line_separator_is_text(tmp_path):
    lines = ["one\u2028still one", "two\x85still two"]
    folder = files(tmp_path / "text", {"eng.txt": lines, "deu.txt": GERMAN[:2]})
    (folder / "deu.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(GERMAN[:2]).encode() + b"\r\n")
    pairs = load_pairs(folder)
    assert pairs["de"].pivot_sentences == tuple(lines)
    assert pairs["de"].sentences == tuple(GERMAN[:2])


def test_choosing(tmp_path):
    folder = files(tmp_path / "text", {"eng.txt": ENGLISH, "deu.txt": GERMAN, "fra.txt": FRENCH})
    assert load_pairs(folder, languages=["fr", "en"], n=2).counts == {"fra_Latn": 2}
    assert load_pairs(str(folder), languages=["fr", "de"]).languages == ["fra_Latn", "deu_Latn"]
    assert load_pairs(folder, pivot="fr").languages == ["deu_Latn", "eng_Latn"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "nowhere"}, "source='nowhere' does not exist"),
        ({"source": 7}, "must be 'bundled', 'hf:owner/name', a path or a dataset, not 7"),
        ({"languages": "deu_Latn"}, "languages must be a list"),
        ({"languages": ["xx"]}, "'xx' is unknown"),
        ({"languages": ["sr"]}, "'sr' is ambiguous"),
        (
            {"languages": ["swh"]},
            "languages=swh_Latn not found in .* it has deu_Latn, fra_Latn beside eng_Latn",
        ),
        ({"languages": ["en"]}, "only the pivot eng_Latn"),
        ({"languages": []}, "only the pivot eng_Latn"),
        ({"pivot": "ru"}, "no file for the pivot rus_Cyrl; it has"),
        ({"n": 4}, "n=4 must lie between 2 and the pairs there are"),
        ({"n": "all"}, "whole number"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    folder = files(tmp_path / "text", {"eng.txt": ENGLISH, "deu.txt": GERMAN, "fra.txt": FRENCH})
    with pytest.raises(XAlignError, match=message):
        load_pairs(**({"source": folder} | arguments))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "holds no file that is named like parallel text"),
        ({"README.md": ["x"]}, "holds no file"),
        ({"eng.txt": ENGLISH}, "only the pivot"),
        ({"eng.txt": ENGLISH, "deu.txt": GERMAN[:2]}, r"eng\.txt has 3 lines, but deu\.txt 2"),
        (
            {"eng.txt": ENGLISH, "deu.txt": [GERMAN[0], "", GERMAN[2]]},
            r"1 empty line\(s\), the first at line 2",
        ),
        ({"eng.txt": ENGLISH[:1], "deu.txt": GERMAN[:1]}, "at least 2"),
        ({"eng-deu.eng": ENGLISH}, r"eng-deu\.eng has no other side"),
        ({"eng-deu.eng": ENGLISH, "eng-deu.deu": GERMAN[:2]}, r"eng-deu\.eng has 3 lines and eng-deu\.deu 2"),
        (
            {"fra-deu.fra": FRENCH, "fra-deu.deu": GERMAN},
            "no bitext with the pivot eng_Latn; it has deu_Latn-fra_Latn",
        ),
    ],
)
def test_bad_folders(tmp_path, contents, message):
    with pytest.raises(PairsError, match=message):
        load_pairs(files(tmp_path / "text", contents))


def test_a_folder_of_tables(tmp_path):
    """Each file has languages of its own, and its own English sentences."""
    tables = {
        "en-de.tsv": ["en\tde", *map("\t".join, zip(ENGLISH, GERMAN, strict=True))],
        "en-fr.jsonl": [json.dumps({"en": a, "fr": b}) for a, b in zip(ENGLISH[1:], FRENCH[1:], strict=True)],
        "README.md": ["x"],
        "metadata.tsv": ["x"],
    }
    pairs = load_pairs(files(tmp_path / "text", tables))
    assert pairs.counts == {"deu_Latn": 3, "fra_Latn": 2}
    assert pairs["deu_Latn"].sentences == tuple(GERMAN)
    assert pairs["fra_Latn"].pivot_sentences == tuple(ENGLISH[1:])
    assert list(load_pairs(tmp_path / "text", ["fr"])) == ["fra_Latn"]
    again = files(tmp_path / "twice", tables | {"more.tsv": tables["en-de.tsv"]})
    with pytest.raises(PairsError, match=r"en-de\.tsv and more\.tsv both hold deu_Latn; join them"):
        load_pairs(again)
    beside = files(tmp_path / "beside", tables | {"eng.txt": ENGLISH, "deu.txt": GERMAN})
    with pytest.warns(UserWarning, match=r"en-de\.tsv, en-fr\.jsonl; these files are not read"):
        assert list(load_pairs(beside)) == ["deu_Latn"]


def test_broken_utf8(tmp_path):
    folder = files(tmp_path / "text", {"eng.txt": ENGLISH, "deu.txt": GERMAN})
    (folder / "deu.txt").write_bytes(b"Guten Morgen.\nEs regn\xe9t.\nWo?\n")
    with pytest.raises(PairsError, match=r"deu\.txt is not UTF-8: line 2, byte 21"):
        load_pairs(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pairs.tsv", "", "is empty; its first line must name"),
        ("pairs.tsv", "en\tde\nGood.\n", "line 2: 1 fields where the header has 2"),
        ("pairs.tsv", "en\txx\na\tb\n", "'xx' is unknown"),
        ("pairs.tsv", "de\tfr\na\tb\nc\td\n", "no column for the pivot eng_Latn"),
        ("pairs.jsonl", "", "no column for the pivot"),
        ("pairs.jsonl", "{", "line 1 is not valid JSON"),
        ("pairs.jsonl", "[1]", "line 1 must be an object"),
        ("pairs.jsonl", '{"en": "a", "de": "b"}\n{"en": "c"}', "line 2 has other keys than line 1: de"),
        ("pairs.jsonl", '{"en": "a", "de": 3}', "line 1: 'de' must be a string, not 3"),
        ("pairs.csv", "en,de\n", r"must be .* a folder, a \.tsv, \.jsonl or \.tmx file"),
    ],
)
def test_bad_tables(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(XAlignError, match=message):
        load_pairs(path)


def test_bundled():
    pairs = load_pairs("bundled")
    assert pairs.counts == dict.fromkeys(["deu_Latn", "rus_Cyrl", "spa_Latn", "zho_Hans"], 200)
    assert pairs.is_multiway
    assert pairs.duplicates == {}
    texts = {language: bitext.sentences for language, bitext in pairs.items()}
    texts["eng_Latn"] = pairs["deu_Latn"].pivot_sentences
    scripts = {"rus_Cyrl": "CYRILLIC", "zho_Hans": "CJK"}
    questions = [sentence.endswith("?") for sentence in texts["eng_Latn"]]
    assert 25 <= sum(questions) <= 70
    for language, sentences in texts.items():
        script = scripts.get(language, "LATIN")
        for row, sentence in enumerate(sentences):
            letters = [unicodedata.name(c).split()[0] for c in sentence if c.isalpha()]
            # A Roman numeral or a city's name may stand in another script, a sentence may not.
            assert letters.count(script) >= 0.9 * len(letters), (language, row, sentence)
            assert sentence == sentence.strip()
            assert "  " not in sentence
            assert sentence == unicodedata.normalize("NFC", sentence)
            assert sentence[-1] in ".?!。？！", (language, row)
            assert sentence.rstrip().endswith(("?", "？")) == questions[row], (language, row)
    lengths = sorted(len(sentence.split()) for sentence in texts["eng_Latn"])
    assert lengths[0] <= 4
    assert lengths[-1] >= 17
    assert (
        sum(
            "not" in s.split() or "n't" in s or "no" in s.lower().split() or "never" in s.lower()
            for s in texts["eng_Latn"]
        )
        >= 25
    )
    # The numerals agree wherever digits are written.
    for row, sentence in enumerate(texts["eng_Latn"]):
        digits = {word.strip(".,") for word in sentence.split() if word.strip(".,").isdigit()}
        for language in ("deu_Latn", "spa_Latn", "rus_Cyrl"):
            assert all(number in texts[language][row] for number in digits), (language, row)


def test_real_folders(real_text):
    flores = load_pairs(real_text / "flores200", ["fra", "swh"], n=100)
    assert flores.counts == {"fra_Latn": 100, "swh_Latn": 100}
    assert len(set(flores["fra_Latn"].documents)) < 100
    tatoeba = load_pairs(real_text / "tatoeba", ["deu", "tam"])
    assert tatoeba.counts == {"deu_Latn": 1000, "tam_Taml": 307}
    assert not tatoeba.is_multiway
    with pytest.warns(UserWarning, match="deu_Latn 1"):
        ntrex = load_pairs(real_text / "ntrex", ["deu"])
    first, second = ntrex.split(0.8, seed=0)
    assert not set(first["de"].documents) & set(second["de"].documents)
    assert not ntrex.overlap(flores)
    assert load_pairs(real_text / "pud" / "text", ["deu"])["de"].documents[0] == "n01001"


def test_types_of_errors():
    assert issubclass(ArgumentError, ValueError)
    assert issubclass(ArgumentTypeError, TypeError)
    assert issubclass(PairsError, ValueError)
