"""Data sets of the Hub: through `datasets` from a copy on disk, or a stand-in that fails as the Hub does."""

import json
import sys

import datasets
import pytest
from datasets import Dataset, DatasetDict
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

from tests.pairs.test_dataset import ENGLISH, GERMAN, TEXTS, bouquet_rows, flores_rows
from xalign import load_pairs
from xalign.errors import MissingExtraError, PairsError, XAlignError
from xalign.pairs.hub import HubSource

FLORES = "openlanguagedata/flores_plus"


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of a data set with a config per language and two splits, in the working folder."""
    folder = tmp_path / FLORES
    texts = TEXTS | {"cat_Latn_vale1252": GERMAN}
    configs = ["- config_name: default", "  data_files:"]
    configs += [f"  - split: {split}\n    path: {split}/*.jsonl" for split in ("dev", "devtest")]
    for split in ("dev", "devtest"):
        (folder / split).mkdir(parents=True)
        for code, side in texts.items():
            rows = [row | {"text": f"{split}: {row['text']}"} for row in flores_rows({code: side})]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / split / f"{code}.jsonl").write_text(lines, encoding="utf-8")
    for code in texts:
        configs += [f"- config_name: {code}", "  data_files:"]
        configs += [f"  - split: {split}\n    path: {split}/{code}.jsonl" for split in ("dev", "devtest")]
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(configs) + "\n---\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_a_config_per_language_through_datasets_itself(copied, monkeypatch):
    loaded = []
    load = datasets.load_dataset
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *given, **options: loaded.append(given[1]) or load(*given, **options)
    )
    pairs = load_pairs(f"hf:{FLORES}", ["de"])
    assert loaded == ["eng_Latn", "deu_Latn"]
    assert pairs["de"].sentences == tuple(f"devtest: {one}" for one in GERMAN)
    assert pairs["de"].pivot_sentences == tuple(f"devtest: {one}" for one in ENGLISH)
    assert pairs["de"].documents is not None
    assert pairs.source == f"hf:{FLORES}/devtest"
    pairs = load_pairs(f"hf:{FLORES}/dev", n=2)
    assert pairs.languages == ["deu_Latn", "fra_Latn", "cat_Latn"]
    assert pairs["de"].sentences == tuple(f"dev: {one}" for one in GERMAN[:2])
    assert load_pairs(f"hf:{FLORES}/dev", ["cat_Latn_vale1252"]).languages == ["cat_Latn"]
    assert load_pairs(f"hf:{FLORES}:default/dev", ["de"]) == load_pairs(f"hf:{FLORES}/dev", ["de"])


@pytest.mark.parametrize(
    ("source", "languages", "message"),
    [
        (
            f"hf:{FLORES}",
            ["swh"],
            f"languages=swh_Latn not found in hf:{FLORES}/devtest; it has deu_Latn, fra_Latn",
        ),
        (f"hf:{FLORES}", ["en"], "only the pivot eng_Latn"),
        (f"hf:{FLORES}/test", None, r"Unknown split \"test\". Should be one of \['dev', 'devtest'\]"),
        (
            f"hf:{FLORES}:swh_Latn",
            None,
            "BuilderConfig 'swh_Latn' not found. Available: .'default', 'eng_Latn'",
        ),
        (f"hf:{FLORES}:deu_Latn/dev", None, "has no sentences of the pivot eng_Latn; it has deu_Latn"),
    ],
)
def test_parts_that_are_not_there(copied, source, languages, message):
    with pytest.raises(XAlignError, match=message):
        load_pairs(source, languages)


@pytest.fixture
def hub(monkeypatch):
    """Let the Hub hold some data sets, or raise what it is told to."""

    def hold(given, configs=("default",)):
        calls = []

        def answer(value):
            if isinstance(value, Exception):
                raise value
            return value

        def load_dataset(path, name=None, split=None, revision=None):
            calls.append((path, name, split, revision))
            found = answer(given)
            return found[split] if isinstance(found, DatasetDict) and split else found

        def get_dataset_config_names(path, revision=None):
            answer(given)
            return list(configs)

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        monkeypatch.setattr(datasets, "get_dataset_config_names", get_dataset_config_names)
        return calls

    return hold


def test_bouquet_is_read_by_its_columns(hub):
    rows = Dataset.from_list(bouquet_rows())
    calls = hub(DatasetDict({"dev": rows.select([]), "test": rows}))
    pairs = load_pairs("hf:facebook/bouquet", ["de"])
    assert calls == [("facebook/bouquet", "sentence_level", "test", None)]
    assert pairs["de"].sentences == tuple(GERMAN)
    assert pairs.source == "hf:facebook/bouquet:sentence_level/test"


def test_a_data_set_with_one_split(hub):
    rows = Dataset.from_dict(
        {"translation": [{"en": e, "de": g} for e, g in zip(ENGLISH, GERMAN, strict=True)]}
    )
    calls = hub(DatasetDict({"train": rows}), ["de-en", "en-fr", "default"])
    assert load_pairs("hf:someone/books@v1.0").source == "hf:someone/books@v1.0/train"
    assert load_pairs("hf:someone/books:de-en/train", n=2)["de"].sentences == tuple(GERMAN[:2])
    assert calls == [("someone/books", None, None, "v1.0"), ("someone/books", "de-en", "train", None)]


def test_a_config_per_pair(hub, monkeypatch):
    def rows(code, texts):
        return DatasetDict({"train": Dataset.from_dict({"en": ENGLISH, code: texts})})

    held = {"de-en": rows("de", GERMAN), "en-zh": rows("zh", ["a", "b", "c"]), "de-fr": rows("fr", GERMAN)}
    hub(None, held)
    monkeypatch.setattr(datasets, "load_dataset", lambda path, name, split, revision: held[name])
    pairs = load_pairs("hf:a/b", ["zho_Hans", "de"], n=2)
    assert pairs.languages == ["zho_Hans", "deu_Latn"]
    assert pairs["de"].sentences == tuple(GERMAN[:2])
    assert pairs["zh"].sentences == ("a", "b")
    with pytest.raises(
        PairsError, match=r"like 'hf:a/b:de-en', or name languages \(it has pairs of 1 with eng_Latn"
    ):
        load_pairs("hf:a/b")
    with pytest.raises(
        XAlignError, match="languages=fra_Latn not found in hf:a/b with eng_Latn; it has deu_Latn"
    ):
        load_pairs("hf:a/b", ["fr"])
    hub(None, ["de-en", "en-de"])
    with pytest.raises(PairsError, match="has the configs de-en, en-de; choose one"):
        load_pairs("hf:a/b", ["de"])


def test_what_has_to_be_chosen(hub):
    hub(DatasetDict({"dev": Dataset.from_list(flores_rows()), "test": Dataset.from_list(flores_rows())}))
    with pytest.raises(PairsError, match="has the splits dev, test; choose one, like 'hf:a/b/dev'"):
        load_pairs("hf:a/b")
    hub(DatasetDict(), ["clean", "noisy"])
    with pytest.raises(PairsError, match="has the configs clean, noisy; choose one, like 'hf:a/b:clean'$"):
        load_pairs("hf:a/b", ["de"])
    hub(DatasetDict({"test": Dataset.from_dict({"question": ["a"], "answer": ["b"]})}))
    with pytest.raises(
        PairsError, match="hf:a/b/test: no column names languages.* its columns are question, answer"
    ):
        load_pairs("hf:a/b")


def of_http(kind, message):
    """Make an error without its response, which each version of the library makes of another class."""
    return kind.__new__(kind, message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub. You must be"),
            "is gated: .* hf auth login",
        ),
        (
            of_http(GatedRepoError, "Cannot access"),
            "is gated: its owner asks .*/datasets/a/b, then log",
        ),
        (
            DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub or cannot"),
            "is not on the Hub, or it is private",
        ),
        (DatasetNotFoundError("Revision 'x' doesn't exist for dataset 'a/b'"), "Revision 'x' doesn't exist"),
        (
            ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)"),
            "no copy of it is here.* hf download",
        ),
        (LocalEntryNotFoundError("Cannot find"), "cannot be reached"),
        (of_http(HfHubHTTPError, "Too many requests"), "cannot be reached"),
        (HfHubHTTPError.__bases__[0]("The read operation timed out"), "cannot be reached"),
        (DatasetGenerationError("An error occurred"), "cannot be loaded: An error occurred. Its page"),
        (
            RuntimeError("Dataset scripts are no longer supported, but found b.py"),
            "Dataset scripts are no longer",
        ),
    ],
)
def test_what_the_hub_refuses(hub, error, message):
    hub(error)
    for source in ("hf:a/b", "hf:a/b:config/test"):
        with pytest.raises(PairsError, match=message) as raised:
            load_pairs(source)
        assert raised.value.__cause__ is error


def test_offline_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert datasets.config.HF_HUB_OFFLINE  # or this test would ask the Hub
    with pytest.raises(PairsError) as raised:
        load_pairs(f"hf:{FLORES}")
    for part in (
        f"https://huggingface.co/datasets/{FLORES}",
        f"hf download {FLORES} --repo-type dataset --local-dir {FLORES}",
        "deu_Latn.txt",
        ".tsv file with a language per column",
    ):
        assert part in str(raised.value)


def test_without_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"need datasets: pip install .*\[data\]"):
        load_pairs("hf:a/b")


@pytest.mark.parametrize(
    "source", ["hf:", "hf:name", "hf:a/b/c/d", "hf:a/b:", "hf:a/b:c:d", "hf:a b/c", "hf:a/b@/c"]
)
def test_names_that_are_written_otherwise(source):
    with pytest.raises(PairsError, match="must be written like 'hf:owner/name'"):
        load_pairs(source)


@pytest.mark.parametrize("source", ["hf:a/b", "hf:a/b/c", "hf:a/b:c", "hf:a/b:c-d/e", "hf:a-1/b.2@main:c/d"])
def test_names_are_read_as_they_are_shown(source):
    assert HubSource.parse(source).name == source
