"""`xalign experts` and `xalign steer`: find, save, steer side by side, and one line per mistake."""

import pytest

from tests.cli.typed import xalign
from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import UnitSet
from xalign.finding import METHODS, Method
from xalign.judging.sample import sample
from xalign.steering.steer import steer


@pytest.fixture(scope="module")
def units_folder(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("units") / "units"
    done = xalign(
        "experts", model_folder, "--languages", "deu,rus", "--n", 20, "--share", 0.05, "--out", folder
    )
    assert done.exit_code == 0, done.stderr
    for part in ("eng_Latn", "deu_Latn", "rus_Cyrl", "most frequent sites", ".inner (", "wrote"):
        assert part in done.stdout
    return folder


def test_experts_are_those_of_find_units(units_folder):
    units = UnitSet.from_pretrained(units_folder)
    assert units.labels == ["eng_Latn", "deu_Latn", "rus_Cyrl"]
    assert len(units) == 3 * round(0.05 * FFN * LAYERS)
    assert units.provenance["settings"]["share"] == 0.05


def test_steer_side_by_side(model_folder, units_folder):
    done = xalign(
        *("steer", model_folder, "--units", units_folder, "--language", "deu", "--prompt", "Good"),
        *("--strength", 30, "--n", 2, "--max-new-tokens", 4, "--seed", 5),
    )
    assert done.exit_code == 0, done.stderr
    model, tokenizer = make_model("llama"), make_tokenizer()
    generation = {"max_new_tokens": 4}
    without = sample(model, tokenizer, 2, prompt="Good", seed=5, generation=generation)
    german = UnitSet.from_pretrained(units_folder)["deu_Latn"]
    with steer(model, german, strength=30.0, positions="prompt"):
        steered = sample(model, tokenizer, 2, prompt="Good", seed=5, generation=generation)
    assert without.texts != steered.texts
    for text in (*without.texts, *steered.texts):
        assert text.split()[0] in done.stdout
    assert "deu_Latn, set × 30, prompt" in done.stdout
    assert "12 units, written at" in done.stdout


def test_greedy_is_the_same_twice(model_folder, units_folder):
    arguments = ("--units", units_folder, "--language", "rus_Cyrl", "--temperature", 0, "--n", 1)
    printed = [xalign("steer", model_folder, *arguments, "--seed", seed).stdout for seed in (1, 2)]
    assert printed[0] == printed[1] != ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("steer", "--language", "fra"),
            "language='fra' has no units; there is eng_Latn, deu_Latn, rus_Cyrl",
        ),
        (("steer", "--language", "deu", "--positions", "never"), "positions='never' must be one of all"),
        (("steer", "--language", "deu", "--operator", "clamp"), "operator='clamp' must be one of set, add"),
        (("steer", "--language", "deu", "--temperature", "-1"), "temperature=-1.0 must be 0 or above 0"),
        (("steer", "--language", "deu", "--temperature", "nan"), "temperature=nan must be 0 or above 0"),
        (("steer", "--language", "deu", "--temperature", "inf"), "temperature=inf must be 0 or above 0"),
        (("steer", "--language", "deu", "--max-new-tokens", "0"), "max_new_tokens=0 must be at least 1"),
        (("steer", "--language", "deu", "--units", "nowhere"), "source='nowhere' is no folder"),
        (("experts",), "holds units already; give another folder, or --overwrite"),
        (
            ("experts", "--out", "new", "--method", "foo"),
            "method='foo' must be one of expert_ap, expert_auroc",
        ),
        (("experts", "--out", "new", "--share", "2"), "share=2.0 must be at most 1"),
        (("experts", "--out", "new", "--sites", "9.inner"), "9.inner"),
        (
            ("experts", "--out", "new", "--method", "lape", "--sites", "gate"),
            "sites='gate' is of --method exp",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, message, model_folder, units_folder, tmp_path):
    verb, *rest = arguments
    needed = {"steer": "--units", "experts": "--out"}[verb]
    given = [] if needed in rest else [needed, units_folder]
    done = xalign(verb, model_folder, *given, *rest)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_method_that_chooses_its_own_sites_and_share(model_folder, tmp_path, monkeypatch):
    def first(model, tokenizer, texts, count=2):
        return UnitSet.from_rows([(code, "0.inner", at, 1, 2) for code in texts for at in range(count)])

    monkeypatch.setitem(METHODS, "first", Method("first", first))
    arguments = ("experts", model_folder, "--n", 3, "--method", "first", "--out", tmp_path / "units")
    done = xalign(*arguments)
    assert done.exit_code == 0, done.stderr
    assert len(UnitSet.from_pretrained(tmp_path / "units")["deu_Latn"]) == 2
    for given, message in (
        (("--sites", "gate"), "sites='gate' is of --method expert_ap, expert_auroc, "),
        (("--sites", "gate"), "; first decides itself where to look"),
        (("--share", 0.1), "has no option 'share'; it has count"),
    ):
        done = xalign(*arguments, "--overwrite", *given)
        assert done.exit_code == 2 and message in done.stderr


def test_every_method_is_offered_by_its_name(model_folder, tmp_path):
    shown = xalign("experts", "--help").stdout
    for name in METHODS:
        assert name in shown.replace("\n", " "), name
    for name in ("aura", "activation_probability", "l1_probe"):
        done = xalign(*("experts", model_folder, "--n", 20, "--method", name, "--out", tmp_path / name))
        assert done.exit_code == 0, done.stderr
        assert UnitSet.from_pretrained(tmp_path / name).provenance["method"] == name
    found = UnitSet.from_pretrained(tmp_path / "activation_probability")
    assert found.provenance["settings"]["share"] == 0.00125  # its own default


def test_dampening_at_numbered_tokens(model_folder, tmp_path):
    out = tmp_path / "units"
    xalign("experts", model_folder, "--n", 20, "--method", "aura", "--out", out)
    arguments = (
        "steer",
        model_folder,
        "--units",
        out,
        "--language",
        "deu",
        "--prompt",
        "Good morning",
        "--n",
        1,
    )
    done = xalign(*arguments, "--operator", "dampen", "--positions", "0,-1", "--max-new-tokens", 2)
    assert done.exit_code == 0, done.stderr
    assert "deu_Latn, dampen × 1, [0, -1]" in done.stdout and "written at 2 tokens" in done.stdout
    for given, message in (
        (("--operator", "set"), "holds factors, not values, and 'set' writes values"),
        (("--operator", "dampen", "--strength", 4), "strength=4 of 'dampen' must be between 0 and 1"),
        (
            ("--operator", "dampen", "--positions", "99"),
            "positions has number 99, and the prompt of sentence 0 has",
        ),
        (("--operator", "dampen", "--positions", "1,1"), "must be different numbers"),
    ):
        done = xalign(*arguments, *given)
        assert done.exit_code == 2 and message in done.stderr.replace("\n", " "), done.stderr
