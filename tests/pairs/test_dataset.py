"""Datasets of text: the forms in which they hold languages, and what is refused."""

import pytest
from datasets import Dataset, DatasetDict, IterableDataset

from xalign import load_pairs, pairs_from_dataset
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError, XAlignError

ENGLISH = ["Good morning.", "It rains.", "Where is he?"]
GERMAN = ["Guten Morgen.", "Es regnet.", "Wo ist er?"]
FRENCH = ["Bonjour.", "Il pleut.", "Où est-il ?"]
TEXTS = {"eng_Latn": ENGLISH, "deu_Latn": GERMAN, "fra_Latn": FRENCH}
ORDER = {"eng_Latn": [0, 1, 2], "deu_Latn": [2, 0, 1], "fra_Latn": [1, 2, 0]}


def flores_rows(texts=TEXTS):
    """Rows as in FLORES+, of each language in another order."""
    return [
        {
            "id": i,
            "iso_639_3": code[:3],
            "iso_15924": code[4:],
            "glottocode": "abcd1234",
            "text": side[i],
            "url": f"https://example.org/{i // 2}",
        }
        for code, side in texts.items()
        for i in ORDER.get(code, range(len(side)))
    ]


def bouquet_rows():
    """Rows as in BOUQuET: each language against English, English against itself included."""
    return [
        {
            "level": "sentence_level",
            "uniq_id": f"P1-S{i}",
            "src_lang": code,
            "src_text": side[i],
            "tgt_lang": "eng_Latn",
            "tgt_text": ENGLISH[i],
            "par_id": "P1",
        }
        for code, side in TEXTS.items()
        for i in ORDER[code]
    ]


FORMS = {
    "columns": Dataset.from_dict(
        {"id": ["4", "5", "6"], "en": ENGLISH, "de": GERMAN, "fr": FRENCH, "score": [1.0] * 3}
    ),
    "prefix": Dataset.from_dict(
        {f"sentence_{code}": side for code, side in TEXTS.items()} | {"id": [4, 5, 6]}
    ),
    "translation": Dataset.from_dict(
        {
            "id": [4, 5, 6],
            "translation": [
                {"en": e, "de": g, "fr": f} for e, g, f in zip(ENGLISH, GERMAN, FRENCH, strict=True)
            ],
        }
    ),
    "variable": Dataset.from_dict(
        {
            "translation": [
                {"language": ["fr", "en", "de"], "translation": [f, e, g]}
                for e, g, f in zip(ENGLISH, GERMAN, FRENCH, strict=True)
            ]
        }
    ),
    "flores": Dataset.from_list(flores_rows()),
    "bouquet": Dataset.from_list(bouquet_rows()),
    "by language": DatasetDict(
        {
            code: Dataset.from_list([row for row in flores_rows() if row["iso_639_3"] == code[:3]])
            for code in TEXTS
        }
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_the_same_pairs(name):
    dataset = FORMS[name]
    pairs = load_pairs(dataset)
    assert sorted(pairs.languages) == ["deu_Latn", "fra_Latn"]
    for code in pairs.languages:
        assert pairs[code].sentences == tuple(TEXTS[code])
        assert pairs[code].pivot_sentences == tuple(ENGLISH)
    swapped = load_pairs(dataset, ["fr"], pivot="de", n=2)
    assert swapped.languages == ["fra_Latn"]
    assert (
        swapped["fr"].pivot_sentences
        == tuple(
            GERMAN[i]
            for i in (ORDER["deu_Latn"] if name in ("flores", "bouquet", "by language") else range(3))
        )[:2]
    )


def test_an_iterable_dataset_and_a_dict_of_one_split():
    rows = flores_rows()
    streamed = IterableDataset.from_generator(lambda: iter(rows))
    assert streamed.column_names is None  # the case in which the first row has to tell
    expected = load_pairs(Dataset.from_list(rows))
    assert load_pairs(streamed) == expected
    assert load_pairs(DatasetDict({"devtest": Dataset.from_list(rows)})) == expected
    assert pairs_from_dataset(rows) == expected


def test_of_a_stream_only_the_first_rows_are_read():
    def endless():
        number = 0
        while True:
            yield {"en": f"sentence {number}", "de": f"Satz {number}"}
            number += 1

    pairs = load_pairs(IterableDataset.from_generator(endless), n=5)
    assert pairs["de"].sentences == tuple(f"Satz {i}" for i in range(5))


def test_identifiers_and_documents():
    flores = load_pairs(FORMS["flores"])["de"]
    assert flores.ids == ("0", "1", "2")
    assert flores.documents == ("https://example.org/0", "https://example.org/0", "https://example.org/1")
    bouquet = load_pairs(FORMS["bouquet"])["de"]
    assert (bouquet.ids, bouquet.documents) == (("P1-S0", "P1-S1", "P1-S2"), ("P1",) * 3)
    assert load_pairs(FORMS["columns"])["de"].ids == ("4", "5", "6")


def test_columns_that_are_named():
    dataset = Dataset.from_dict(
        {"who": list("aabb"), "what": ["eng", "deu"] * 2, "said": ["a", "A", "b", "B"], "text": ["x"] * 4}
    )
    with pytest.raises(PairsError, match="no column names languages.*its columns are who, what, said, text"):
        load_pairs(dataset)
    pairs = pairs_from_dataset(
        dataset, language_column="what", text_column="said", id_column="who", source="mine"
    )
    assert (pairs["de"].sentences, pairs["de"].ids, pairs.source) == (("A", "B"), ("a", "b"), "mine")
    dataset = Dataset.from_dict({"source": ENGLISH, "target": GERMAN, "book": ["x", "x", "y"]})
    pairs = pairs_from_dataset(dataset, {"en": "source", "de": "target"}, document_column="book", n=2)
    assert (pairs["de"].sentences, pairs["de"].documents) == (tuple(GERMAN[:2]), ("x", "x"))
    with pytest.raises(ArgumentError, match="not both"):
        pairs_from_dataset(dataset, {"en": "source", "de": "target"}, text_column="source")
    with pytest.raises(ArgumentError, match="has no column 'quell'; it has source, target, book"):
        pairs_from_dataset(dataset, {"en": "quell", "de": "target"})


def test_an_ambiguous_code_means_the_language_that_is_asked_for():
    dataset = Dataset.from_dict({"en": ENGLISH, "zh": GERMAN, "de": FRENCH})
    with pytest.raises(
        PairsError, match="'zh' is ambiguous: choose one of zho_Hans, zho_Hant; say which it is"
    ):
        load_pairs(dataset)
    with pytest.raises(XAlignError, match="'zh' is ambiguous"):
        load_pairs(dataset, ["zh"])
    assert load_pairs(dataset, ["zho_Hant"])["zh"].sentences == tuple(GERMAN)
    assert load_pairs(dataset, ["de"]).languages == ["deu_Latn"]


def test_variants_of_a_language():
    texts = {"eng_Latn": ENGLISH, "cat_Latn": GERMAN, "cat_Latn_vale1252": FRENCH}
    assert load_pairs(Dataset.from_dict(texts))["ca"].sentences == tuple(GERMAN)
    assert load_pairs(Dataset.from_dict(texts), ["cat_Latn_vale1252"])["ca"].sentences == tuple(FRENCH)
    texts = TEXTS | {"apc_Arab_nort3139": ["a", "b", "c"], "apc_Arab_sout3123": ["d", "e", "f"]}
    with pytest.warns(UserWarning, match="several of apc_Arab .apc_Arab_nort3139, apc_Arab_sout3123"):
        assert load_pairs(Dataset.from_dict(texts)).languages == ["deu_Latn", "fra_Latn"]
    with pytest.raises(PairsError, match="has several of apc_Arab: 'apc_Arab_nort3139', 'apc_Arab_sout3123'"):
        load_pairs(Dataset.from_dict(texts), ["apc"])
    assert load_pairs(Dataset.from_dict(texts), ["apc_Arab_sout3123"])["apc"].sentences == ("d", "e", "f")


def test_sentences_without_a_partner_are_counted():
    rows = [row for row in flores_rows() if (row["iso_639_3"], row["id"]) not in {("deu", 1), ("eng", 9)}]
    with pytest.warns(
        UserWarning, match=r"without a partner in the other language are not read \(deu_Latn 1\)"
    ):
        pairs = load_pairs(Dataset.from_list(rows))
    assert pairs["de"].sentences == (GERMAN[0], GERMAN[2])
    assert pairs["de"].pivot_sentences == (ENGLISH[0], ENGLISH[2])
    assert pairs["fr"].sentences == tuple(FRENCH)


def test_repeated_sentences_are_told_of():
    with pytest.warns(UserWarning, match="repeated sentences .deu_Latn 1"):
        load_pairs(Dataset.from_dict({"en": ENGLISH, "de": [*GERMAN[:2], GERMAN[0]]}))


def changed(number, **values):
    rows = flores_rows()
    rows[number] |= values
    return Dataset.from_list(rows)


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        (
            FORMS["flores"],
            {"languages": ["swh"]},
            "languages=swh_Latn not found in the dataset; it has deu_Latn, fra",
        ),
        (FORMS["flores"], {"languages": ["en"]}, "only the pivot eng_Latn"),
        (FORMS["flores"], {"pivot": "ru"}, "no sentences of the pivot rus_Cyrl; it has eng_Latn, deu_Latn"),
        (FORMS["columns"], {"n": 4}, "n=4 must lie between 2 and the pairs there are"),
        (FORMS["columns"], {"n": 1}, "n=1"),
        (changed(1, text=" "), {}, "row 1: the sentence of eng_Latn is empty"),
        (changed(4, text=None), {}, "row 4: the sentence of deu_Latn is empty"),
        (changed(3, id=0), {}, "row 4: deu_Latn has another sentence with the same identifier '0'"),
        (changed(3, id=None), {}, "row 3: the identifier in column 'id' is empty"),
        (changed(3, iso_639_3=None), {}, "row 3: iso_639_3, iso_15924 must name a language"),
        (Dataset.from_dict({"a": ["x"], "b": ["y"]}), {}, "its columns are a, b"),
        (
            Dataset.from_dict({"lang": ["en", "de"], "text": ["a", "b"]}),
            {},
            "no column says which rows are the same",
        ),
        (
            Dataset.from_dict({"en": ["a"], "de": ["b"], "lang": ["c"], "text": ["d"]}),
            {},
            "could be told by lang and by",
        ),
        (
            Dataset.from_dict({"en": ["a", "b"], "de": ["c", None]}),
            {},
            "row 1: the sentence of deu_Latn is empty",
        ),
        (Dataset.from_dict({"en": ["a", "b"], "de": [1, 2]}), {}, "no column names languages"),
        (Dataset.from_dict({"en": [], "de": []}), {}, "is empty"),
        (Dataset.from_dict({"translation": ["a", "b"]}), {}, "must map languages to sentences, not be a str"),
        (
            DatasetDict({"dev": FORMS["flores"], "test": FORMS["flores"]}),
            {},
            r"has the splits dev, test; choose one, like dataset\['test'\]",
        ),
        (
            DatasetDict(
                {"en": Dataset.from_dict({"text": ["a", "b"]}), "de": Dataset.from_dict({"text": ["a"]})}
            ),
            {},
            "no column of identifiers and different numbers of rows: en 2, de 1",
        ),
        (
            DatasetDict({"en": FORMS["columns"], "de": FORMS["columns"]}),
            {},
            "no single column of it holds the sentences",
        ),
        (["a", "b"], {}, "must be 'bundled', 'hf:owner/name', a path or a dataset"),
    ],
)
def test_what_is_refused(dataset, arguments, message):
    with pytest.raises(XAlignError, match=message):
        load_pairs(dataset, **arguments)


def test_rows_that_are_no_rows():
    with pytest.raises(PairsError, match="has rows of type str"):
        pairs_from_dataset(["a", "b"])
    with pytest.raises(PairsError, match="the dataset is empty"):
        pairs_from_dataset([])
    with pytest.raises(ArgumentTypeError, match="must be a datasets.Dataset or a list of rows, not int"):
        pairs_from_dataset(7)
    with pytest.raises(PairsError, match="row 1 has no de"):
        pairs_from_dataset([{"en": "a", "de": "b"}, {"en": "a"}])
