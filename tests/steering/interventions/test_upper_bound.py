"""The upper bound of transplants: every try by brute force, the control, and what is refused."""

import pytest
import torch

from tests.steering.interventions import plain
from tests.steering.interventions.plain import at, ids_of, model_of, padded
from tests.tiny import LAYERS, make_tokenizer
from xalign import steer
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.steering import (
    GeneratedAnswer,
    LikeliestOption,
    TransplantBound,
    transplant,
    transplant_upper_bound,
)

PROMPTS = ["Das Wetter ist heute", "Guten Morgen", "Das Haus ist"]
SOURCES = ["The weather is", "Good morning to you", "The house is"]
OPTIONS = [[" gut", " sehr schlecht"], [" Hans", " mein Freund", " du"], [" rot", " nicht hier"]]
ANSWERS = [0, 1, 0]
EVERY = [(source, target) for source in range(LAYERS) for target in range(LAYERS)]


def option_ids(option):
    return make_tokenizer()(option, add_special_tokens=False)["input_ids"]


def likelihood(model, family, item, option, edits, per_token):
    ids, behind = ids_of(PROMPTS[item]), option_ids(option)
    logits, _ = plain.run(model, family, [*ids, *behind], edits)
    log_p = logits.double().log_softmax(dim=-1)
    each = [float(log_p[len(ids) - 1 + place, token]) for place, token in enumerate(behind)]
    return sum(each) / (len(each) if per_token else 1)


def by_brute_force(model, family, sub_layer, per_token, source_of):
    """Per try and item whether the right option is the likeliest, one sequence at a time."""
    found = []
    for source, target in EVERY:
        row = []
        for item, prompt in enumerate(PROMPTS):
            seen = plain.run(model, family, ids_of(SOURCES[source_of[item]]), looks=[(sub_layer, source)])[1]
            value = seen[sub_layer, source][-1]
            edits = {(sub_layer, target): at(len(ids_of(prompt)) - 1, lambda own, value=value: value)}
            scores = [likelihood(model, family, item, one, edits, per_token) for one in OPTIONS[item]]
            row.append(scores.index(max(scores)) == ANSWERS[item])
        found.append(row)
    return torch.tensor(found)


def bound_of(model, answers, **options):
    return transplant_upper_bound(model, make_tokenizer(), PROMPTS, SOURCES, answers, **options)


@pytest.mark.parametrize(
    ("family", "sub_layer", "per_token"),
    [("llama", "mlp_out", False), ("gpt2", "attn_out", True), ("qwen3", "mlp_out", True)],
)
def test_every_try_equals_brute_force(family, sub_layer, per_token):
    model = model_of(family)
    judge = LikeliestOption(OPTIONS, ANSWERS, per_token=per_token)
    found = bound_of(model, judge, sub_layer=sub_layer, controls=0, batch_size=2)
    expected = by_brute_force(model, family, sub_layer, per_token, source_of=[0, 1, 2])
    assert list(found.pairs) == EVERY
    assert torch.equal(found.solved, expected)
    assert 0 < found.solved.sum() < found.solved.numel()
    plain_scores = [
        [likelihood(model, family, item, one, {}, per_token) for one in OPTIONS[item]] for item in range(3)
    ]
    assert found.plain.tolist() == [
        scores.index(max(scores)) == answer for scores, answer in zip(plain_scores, ANSWERS, strict=True)
    ]


def test_the_control_transplants_from_other_items():
    """Of two items, the other one is the one drawn."""
    model, judge = model_of("gpt2"), LikeliestOption(OPTIONS[:2], ANSWERS[:2])
    args = model, make_tokenizer(), PROMPTS[:2]
    found = transplant_upper_bound(*args, SOURCES[:2], judge, controls=2)
    swapped = transplant_upper_bound(*args, SOURCES[:2][::-1], judge, controls=0)
    assert found.control.shape == (2, len(EVERY), 2)
    assert torch.equal(found.control[0], swapped.solved)
    assert torch.equal(found.control[1], swapped.solved)
    assert found.chance_union == swapped.union
    again = transplant_upper_bound(*args, SOURCES[:2], judge, controls=2)
    assert torch.equal(again.control, found.control)


def test_generated_text_is_judged():
    """Left-padded batches, with the cache, equal to a transplant by hand."""
    model, tokenizer, texts = model_of("llama"), make_tokenizer(), {}

    def keep(item, text):
        texts.setdefault(item, []).append(text)
        return "e" in text

    found = bound_of(model, GeneratedAnswer(keep, max_new_tokens=6), pairs=[(2, 0), (1, 1)], controls=0)
    for item, (prompt, source) in enumerate(zip(PROMPTS, SOURCES, strict=True)):
        batch = padded([prompt])
        options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
        expected = [model.generate(**batch, **options)]
        for one, other in ((2, 0), (1, 1)):
            with steer(model, transplant(model, tokenizer, [source], source_layer=one, target_layer=other)):
                expected.append(model.generate(**batch, **options))
        decoded = [
            tokenizer.decode(row[0, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            for row in expected
        ]
        assert texts[item] == decoded
        solved = [bool(found.plain[item]), *found.solved[:, item].tolist()]
        assert solved == ["e" in text for text in decoded]


def test_a_text_ends_where_the_model_ends_it():
    model, tokenizer, texts = model_of("llama"), make_tokenizer(), {}
    batch = padded(PROMPTS[:1])
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    new = model.generate(**batch, **options)[0, batch["input_ids"].shape[1] :].tolist()
    end = next(at for at in range(1, 6) if new[at] not in new[:at])
    judge = GeneratedAnswer(
        lambda item, text: bool(texts.setdefault(item, text)), 6, generation={"eos_token_id": [new[end], 2]}
    )
    transplant_upper_bound(model, tokenizer, PROMPTS[:1], SOURCES[:1], judge, pairs=[(0, 0)], controls=0)
    assert texts[0] == tokenizer.decode(new[:end])


def test_a_plain_function_judges_generated_text():
    model = model_of("llama")
    found = bound_of(model, lambda item, text: item == 1, pairs=[(2, 0)])
    assert found.plain.tolist() == [False, True, False]
    assert found.union == found.chance_union == pytest.approx(1 / 3)


def made(solved, control, plain=(False, False, False, False)):
    pairs = ((3, 0), (3, 1), (2, 0))
    return TransplantBound(pairs, torch.tensor(plain), torch.tensor(solved), torch.tensor(control))


def test_the_shares():
    """By hand: four items, three tries, two draws."""
    t, f = True, False
    found = made(
        [[t, f, f, f], [f, t, f, f], [t, f, t, f]],
        [[[t, f, f, f]] * 3, [[f, f, f, f], [t, f, f, f], [f, t, f, f]]],
        plain=[t, f, f, f],
    )
    assert (found.plain_share, found.union, found.chance_union) == (0.25, 0.75, (0.25 + 0.5) / 2)
    assert found.best_pair == ((2, 0), 0.5)
    assert (found.union_from(3), found.union_from(2), found.union_to(0), found.union_to(1)) == (
        0.5,
        0.5,
        0.5,
        0.25,
    )
    rows = {row["what"]: row for row in found.to_rows()}
    assert list(rows) == ["plain", "best pair 2 to 0", "union", "chance union", "union above chance"]
    assert rows["union above chance"]["share"] == pytest.approx(0.375)
    assert all(row["low"] <= row["share"] <= row["high"] and row["n"] == 4 for row in rows.values())
    assert found.table().row_count == 5
    with pytest.raises(ArgumentError, match="no pair has block 9"):
        found.union_to(9)
    without = TransplantBound(found.pairs, found.plain, found.solved, found.control[:0])
    assert len(without.to_rows()) == 3
    with pytest.raises(ArgumentError, match="controls=1 or more"):
        _ = without.chance_union


def test_the_model_is_left_as_it_was():
    model = model_of("llama").train()
    bound_of(model, LikeliestOption(OPTIONS, ANSWERS), pairs=[(0, 0)])
    assert model.training
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_is_refused():
    model, tokenizer, judge = model_of("llama"), make_tokenizer(), LikeliestOption(OPTIONS, ANSWERS)
    with pytest.raises(ArgumentError, match="prompts are 3 and sources 2"):
        transplant_upper_bound(model, tokenizer, PROMPTS, SOURCES[:2], judge)
    with pytest.raises(ArgumentError, match="options are of 3 items, and prompts of 2"):
        transplant_upper_bound(model, tokenizer, PROMPTS[:2], SOURCES[:2], judge)
    with pytest.raises(ArgumentError, match=r"pairs holds \(3, 0\), and the model has 3 blocks"):
        bound_of(model, judge, pairs=[(3, 0)])
    with pytest.raises(ArgumentError, match="must be different pairs, at least one"):
        bound_of(model, judge, pairs=[])
    with pytest.raises(ArgumentError, match="item 0 has no other item with another source to draw"):
        transplant_upper_bound(model, tokenizer, PROMPTS, SOURCES[:1] * 3, judge)
    with pytest.raises(ArgumentTypeError, match="answers=3 must be a function"):
        bound_of(model, 3)
    with pytest.raises(ArgumentError, match=r"is_solved\(item, text\) raised KeyError"):
        bound_of(model, lambda item, text: {}[item], pairs=[(0, 0)])
    with pytest.raises(ArgumentError, match=r"answers\[0\]=2 is not among its 2 options"):
        LikeliestOption(OPTIONS, [2, 0, 0])
    with pytest.raises(ArgumentError, match=r"options\[0\]=.* must be at least two texts"):
        LikeliestOption([[" gut"]], [0])
    with pytest.raises(ArgumentError, match="options are of 3 items, and answers of 1"):
        LikeliestOption(OPTIONS, [0])
    with pytest.raises(ArgumentError, match="option '' holds no token"):
        bound_of(model, LikeliestOption([[" gut", ""], *OPTIONS[1:]], ANSWERS), pairs=[(0, 0)])
