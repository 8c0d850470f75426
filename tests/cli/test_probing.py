"""`xalign neurons`, `xalign latent`, `xalign items` of minimal pairs, and `xalign track --words`."""

import json

import pytest

from tests.cli.typed import xalign
from tests.probing.test_word_units import TEXTS
from tests.tiny import make_model, make_tokenizer
from xalign.probing import LatentLanguage, MinimalPairs, NeuronKinds, OverlapHistory, Sharing

PAIRS = ("--languages", "de,es", "--n", "6", "--device", "cpu")


def test_neurons(model_folder, tmp_path):
    done = xalign("neurons", model_folder, *PAIRS, "--share", "0.1", "--out", tmp_path / "neurons")
    assert done.exit_code == 0, done.stderr
    assert "all_shared" in done.stdout and "general" in done.stdout
    sharing = Sharing.load(tmp_path / "neurons" / "sharing.json")
    assert sharing.about["languages"] == ["eng_Latn", "deu_Latn", "spa_Latn"] and len(sharing.rows) == 12
    assert len(NeuronKinds.load(tmp_path / "neurons" / "kinds.json").rows) == 3
    again = xalign("neurons", model_folder, *PAIRS, "--out", tmp_path / "neurons")
    assert again.exit_code == 2 and "holds neurons already" in again.stderr
    asked = xalign("neurons", model_folder, *PAIRS, "--share", "0.1", "--template", "Say: {text}", "--json")
    printed = json.loads(asked.stdout)
    assert printed["kinds"][0]["neurons"] == 80
    assert printed["sharing"] != sharing.to_rows()  # the template counts


def test_latent(model_folder, tmp_path):
    (tmp_path / "prompts.txt").write_text('The house\n\nGerman: "x" -\\nEnglish: "\n', encoding="utf-8")
    done = xalign("latent", model_folder, tmp_path / "prompts.txt", *PAIRS, "--out", tmp_path / "latent.json")
    assert done.exit_code == 0, done.stderr
    assert "several" in done.stdout and "bits" in done.stdout
    found = LatentLanguage.load(tmp_path / "latent.json")
    assert found.about["texts"] == {"prompts": 2}
    printed = json.loads(xalign("latent", model_folder, tmp_path / "prompts.txt", *PAIRS, "--json").stdout)
    assert printed == found.to_rows()
    again = xalign(
        "latent", model_folder, tmp_path / "prompts.txt", *PAIRS, "--out", tmp_path / "latent.json"
    )
    assert again.exit_code == 2 and "is there already" in again.stderr
    (tmp_path / "prompts.txt").write_text("\n", encoding="utf-8")
    empty = xalign("latent", model_folder, tmp_path / "prompts.txt", *PAIRS)
    assert empty.exit_code == 2 and "holds no prompt" in empty.stderr


def test_an_encoder_has_no_latent_language(tmp_path):
    make_model("bert").save_pretrained(tmp_path / "bert")
    make_tokenizer().save_pretrained(tmp_path / "bert")
    (tmp_path / "prompts.txt").write_text("The house\n", encoding="utf-8")
    done = xalign("latent", tmp_path / "bert", tmp_path / "prompts.txt", *PAIRS)
    assert done.exit_code == 2
    assert "predicts no tokens; load a causal model with its language-model head" in done.stderr


def test_minimal_pairs(model_folder, tmp_path):
    (tmp_path / "pairs").mkdir()
    for code, words in (("eng_Latn", "the {} sleeps"), ("deu_Latn", "das {} schläft")):
        rows = [{"good": words.format(noun), "bad": words.format(noun)[:-1]} for noun in "abcdefg"]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "pairs" / f"{code}.jsonl").write_text(lines, encoding="utf-8")
    common = ("items", model_folder, tmp_path / "pairs", "--device", "cpu")
    done = xalign(*common, "--transfer", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "saturation" in done.stdout and "performance" in done.stdout
    found = MinimalPairs.load(tmp_path / "out" / "minimal_pairs.json")
    assert len(found.summary()) == 4
    assert json.loads(xalign(*common, "--json").stdout)["summary"][0]["language"] == "eng_Latn"
    refused = xalign(*common, "--answers")
    assert refused.exit_code == 2 and "--answers is for choice tasks" in refused.stderr


@pytest.fixture
def run(tmp_path):
    for step in (2, 4):
        place = tmp_path / "run" / f"checkpoint-{step}"
        make_model("llama", seed=step).save_pretrained(place)
        make_tokenizer().save_pretrained(place)
        (place / "trainer_state.json").write_text("{}")
    (tmp_path / "tagged").mkdir()
    for code, own in TEXTS.items():
        blocks = []
        for one in own:
            labels = {one.text[start:end]: label for start, end, label in one.words}
            rows = [
                "\t".join([str(at), word, "_", labels.get(word, "X"), *"______"])
                for at, word in enumerate(one.text[:-1].split(), start=1)
            ]
            blocks.append("\n".join([f"# text = {one.text}", *rows]))
        (tmp_path / "tagged" / f"{code}.conllu").write_text("\n\n".join(blocks) + "\n\n", encoding="utf-8")
    return tmp_path / "run"


@pytest.mark.thorough
def test_overlap_along_a_run(run, tmp_path):
    options = ("track", run, "--words", tmp_path / "tagged", "--units", "5", "--device", "cpu")
    few = xalign(*options)
    assert few.exit_code == 2 and "fewer than 2 labels have 20 words" in few.stderr
    for file in (tmp_path / "tagged").iterdir():  # five times as many sentences
        text = file.read_text(encoding="utf-8")
        file.write_text(text * 5, encoding="utf-8")
    done = xalign(*options, "--site", "1.hidden")
    assert done.exit_code == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()[:2]] == ["step 2", "step 4"]
    found = OverlapHistory.load(run / "alignment" / "overlaps.json")
    assert found.steps == [2, 4] and {row["site"] for row in found.rows} == {"1.hidden"}
    again = xalign(*options, "--json")  # block 1 is in the middle of three
    assert json.loads(again.stdout) == found.to_rows()
    for more, said in (
        (("--metrics", "nasca"), "metrics"),
        (("--pool", "mean"), "pool"),
        (("--follow",), "follow"),
    ):
        refused = xalign(*options, *more)
        assert refused.exit_code == 2 and f"{said} is not for words" in refused.stderr, more
