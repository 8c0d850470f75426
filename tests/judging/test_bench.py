"""The bench of steering: what is judged how, controls, ranking, files and refusals."""

import json

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import ParallelPairs, Site
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging.bench import CONTESTANTS, Contestant, Standing, bench_steering
from xalign.judging.bench.judges import JudgeOfStates, JudgeOfTexts
from xalign.judging.bench.standing import harmonic_mean
from xalign.judging.sample import Sampled
from xalign.model.write import Edit
from xalign.steering.intervention import Intervention

N = 40
WORDS = ["rain", "sun", "wind", "snow", "house", "tree", "river", "stone"]
TEXTS = {
    "eng_Latn": [f"the {WORDS[i % 8]} and the {WORDS[i // 8]} in number {i}" for i in range(N)],
    "deu_Latn": [f"der {WORDS[i % 8]} und das {WORDS[i // 8]} mit Zahl {i}" for i in range(N)],
    "spa_Latn": [f"el {WORDS[i % 8]} y la {WORDS[i // 8]} con cifra {i}" for i in range(N)],
}
PAIRS = ParallelPairs(TEXTS, pivot="eng_Latn")


def harmless(model, tokenizer, pairs):
    def make(strength):
        return {Site("hidden", 1): Edit("add", 0.0 * strength)}

    return {
        code: Intervention("harmless", make, control=lambda seed: Intervention("r", make)) for code in pairs
    }


HARMLESS = Contestant("harmless", harmless, strengths=(1.0,), positions=("all",))
SHORT = {"max_new_tokens": 4}


@pytest.fixture(scope="module")
def standing():
    model, tokenizer = make_model("llama"), make_tokenizer()
    names = ["mean_difference-0.5", "expert_ap"]
    return bench_steering(model, tokenizer, PAIRS, [HARMLESS, *names], generation=SHORT, seeds=2)


def test_what_does_nothing_changes_nothing(standing):
    for row in standing.rows:
        if row["contestant"] == "harmless":
            without = next(
                one
                for one in standing.rows
                if (one["contestant"], one["label"], one["seed"]) == ("none", row["label"], row["seed"])
            )
            assert row["language"] == without["language"]
            assert row["meaning"] == without["meaning"]
            assert row["loss"] == pytest.approx(without["loss"])
            if row["arm"] == "own":
                assert row["alignment"] == without["alignment"]


def test_every_contestant_stands_beside_its_controls(standing):
    for name in ("mean_difference-0.5", "expert_ap", "harmless"):
        for label in ("deu_Latn", "spa_Latn"):
            for seed in (0, 1):
                arms = [
                    row["arm"]
                    for row in standing.rows
                    if (row["contestant"], row["label"], row["seed"]) == (name, label, seed)
                ]
                assert arms == ["own", "random", "shuffled"]


def test_the_ranking_is_sorted_and_says_who_beats_chance(standing):
    ranking = standing.ranking()
    scores = [row["both"] for row in ranking]
    assert scores == sorted(scores, reverse=True)
    of = {row["contestant"]: row for row in ranking}
    assert of["harmless"]["beats_random"] == []
    assert of["harmless"]["both"] == pytest.approx(of["none"]["both"])
    shares = [
        row["language"] for row in standing.rows if (row["contestant"], row["arm"]) == ("harmless", "own")
    ]
    assert of["harmless"]["language"] == pytest.approx(sum(shares) / len(shares))


def test_winning_takes_the_whole_interval():
    def rows(own, chance):
        both = [("own", seed, value) for seed, value in enumerate(own)]
        both += [("random", seed, value) for seed, value in enumerate(chance)]
        return tuple(
            {"contestant": "a", "arm": arm, "label": "deu_Latn", "seed": seed, "language": value}
            | {"meaning": value, "both": value, "loss": None, "alignment": None, "cpu_seconds": None}
            for arm, seed, value in both
        )

    assert Standing(rows([0.8, 0.9, 0.85], [0.1, 0.2, 0.1])).ranking()[0]["beats_random"] == ["deu_Latn"]
    assert Standing(rows([0.8, 0.1, 0.85], [0.1, 0.2, 0.1])).ranking()[0]["beats_random"] == []


def test_an_output_is_judged_by_its_language_and_by_the_nearest_reference():
    model, tokenizer = make_model("llama"), make_tokenizer()
    judge = JudgeOfTexts(model, tokenizer, PAIRS, lambda text: "deu_Latn" if "der" in text else "und")
    texts = list(PAIRS["deu_Latn"].sentences)
    texts[0], texts[1], texts[2] = texts[1], "", PAIRS["deu_Latn"].pivot_sentences[2]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    output = [Sampled([text], [[1, *row]], 1) for text, row in zip(texts, ids, strict=True)]
    judged = judge.judge(output, PAIRS, "deu_Latn")
    assert judged.language.tolist() == [True, False, False] + [True] * (N - 3)
    assert judged.meaning[3:].all()  # each is its own reference
    assert not judged.meaning[0]  # the translation of another
    assert not judged.meaning[1]  # nothing was written
    assert judged.loss > 0


def test_states_are_judged_by_language_means_and_nearest_translations():
    model, tokenizer = make_model("bert"), make_tokenizer()
    judge = JudgeOfStates(model, tokenizer, PAIRS)
    german = judge._states(PAIRS["deu_Latn"].sentences)
    judged = judge.judge(german, PAIRS, "deu_Latn")
    assert judged.meaning.all()
    means = torch.stack([judge._states(texts).mean(dim=0) for texts in PAIRS.texts.values()])
    distances = (german[:, None] - means[None]).square().sum(dim=-1)
    expected = distances.argmin(dim=1) == list(PAIRS.texts).index("deu_Latn")
    assert judged.language.tolist() == expected.tolist()


def test_an_encoder_is_judged_by_its_states():
    model, tokenizer = make_model("bert"), make_tokenizer()
    standing = bench_steering(model, tokenizer, PAIRS, ["mean_difference-0.5"], seeds=1)
    assert all(row["loss"] is None for row in standing.rows)
    assert any(row["language"] > 0 for row in standing.rows)
    # An encoder writes nothing after its prompt, so that steering at all tokens is the same and not tried.
    assert {row["positions"] for row in standing.rows if row["contestant"] != "none"} == {"prompt"}


def test_states_of_references_are_computed_once():
    model, tokenizer = make_model("bert"), make_tokenizer()
    judge, calls = JudgeOfStates(model, tokenizer, PAIRS), []
    german = judge._states(PAIRS["deu_Latn"].sentences)
    judge.judge(german, PAIRS, "deu_Latn")
    judge._states = lambda texts: calls.append(texts)
    judge.judge(german, PAIRS, "deu_Latn")
    assert not calls


def test_the_parts_share_no_sentence():
    seen = []

    def note(model, tokenizer, pairs):
        seen.append(pairs)
        return harmless(model, tokenizer, pairs)

    class Spy(JudgeOfStates):
        judged = []

        def run(self, pairs, label):
            self.judged.append(pairs)
            return super().run(pairs, label)

    from xalign.judging.bench import bench

    model, tokenizer = make_model("bert"), make_tokenizer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "JudgeOfStates", Spy)
        bench_steering(model, tokenizer, PAIRS, [Contestant("note", note, (1.0,), ("all",))], seeds=1)
    finding = set(seen[0].texts["eng_Latn"])
    others = {text for pairs in Spy.judged for text in pairs["deu_Latn"].pivot_sentences}
    assert len(finding) == N // 2
    assert len(others) == N - N // 2
    assert not finding & others


def test_harmonic_mean():
    assert harmonic_mean(0.5, 0.5) == 0.5
    assert harmonic_mean(1.0, 0.0) == 0.0
    assert harmonic_mean(0.9, 0.3) == pytest.approx(1 / ((1 / 0.9 + 1 / 0.3) / 2))


def test_it_is_saved_and_read(standing, tmp_path):
    file = standing.save(tmp_path / "bench.json")
    assert Standing.load(file) == Standing(standing.rows)
    for content in (
        "{",
        "[]",
        "{}",
        json.dumps({"schema_version": 2, "rows": []}),
        '{"schema_version": 1, "rows": [{}]}',
    ):
        file.write_text(content)
        with pytest.raises(ArgumentError, match="is not a bench of steering"):
            Standing.load(file)


def test_what_is_refused():
    model, tokenizer = make_model("llama"), make_tokenizer()
    bitexts = {
        "deu_Latn": (TEXTS["eng_Latn"], TEXTS["deu_Latn"]),
        "spa_Latn": (TEXTS["eng_Latn"][::-1], TEXTS["spa_Latn"]),
    }
    for pairs, options, error, message in (
        (
            PAIRS,
            {"contestants": ["magic"]},
            ArgumentError,
            "contestant 'magic' must be one of mean_difference",
        ),
        (PAIRS, {"contestants": "magic"}, ArgumentTypeError, "must be a list"),
        (PAIRS, {"prompt": "Translate"}, ArgumentError, r"must hold \{text\}"),
        (PAIRS, {"seeds": 0}, ArgumentError, "seeds=0"),
        (PAIRS.first(20), {}, ArgumentError, "20 sentences; at least 32"),
        (ParallelPairs.from_bitexts(bitexts, pivot="eng_Latn"), {}, ArgumentError, "same sentences"),
    ):
        with pytest.raises(error, match=message):
            bench_steering(model, tokenizer, pairs, **options)
    with pytest.raises(ArgumentError, match="no strengths"):
        Contestant("x", harmless, strengths=())
    assert all(name == one.name for name, one in CONTESTANTS.items())
