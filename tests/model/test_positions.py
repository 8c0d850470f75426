"""Writing at some tokens: equal under every way of generating, right for each policy, and refusals."""

import pytest
import torch

from tests.tiny import WIDTH, make_model
from xalign import Site
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.write import Changed, Edit, write

SITE, NEW, PAD = Site("hidden", 1), 5, 0
PROMPTS = [[1, 20, 30, 40, 50, 60], [1, 70, 80], [1, 90, 100, 110]]
torch.manual_seed(0)
UNITS, DIRECTION, ROWS, VECTOR = [3, 8, 21], torch.randn(3), torch.randn(3, 3), 3 * torch.randn(WIDTH)
EDITS = {
    "set": lambda rows: Edit("set", torch.tensor([2.0, -3.0, 1.0]), UNITS),
    "add": lambda rows: Edit("add", VECTOR),
    "scale": lambda rows: Edit("scale", -1.5, UNITS),
    "zero": lambda rows: Edit("zero", units=UNITS),
    "clamp": lambda rows: Edit("clamp", (-0.1, torch.tensor([0.0, 0.1, 0.2])), UNITS),
    "project": lambda rows: Edit("project", DIRECTION, UNITS),
    "replace": lambda rows: Edit("replace", ROWS[rows], UNITS),
}
OF_VECTORS = {
    "project_add": lambda rows: Edit("project_add", VECTOR),
    "add_keep_norm": lambda rows: Edit("add_keep_norm", VECTOR),
}


def odd(tokens):
    return tokens.ids % 3 != 0


def starts_late(lengths, width):
    """A mask of each prompt's second half and of the second token generated."""
    mask = torch.zeros(len(lengths), width + NEW, dtype=torch.bool)
    for row, length in enumerate(lengths):
        mask[row, width - length // 2 : width] = True
        mask[row, width + 1] = True
    return mask


POSITIONS = {
    "all": lambda *_: "all",
    "prompt": lambda *_: "prompt",
    "generated": lambda *_: "generated",
    "last_prompt": lambda *_: "last_prompt",
    "function": lambda *_: odd,
    "mask": starts_late,
}
NUMBERED = {"numbers": lambda *_: [1, -1]}


def logits(model, rows, operator, positions, cache):
    """Logits of each new token of some prompts, padded on the left to one batch."""
    prompts = [PROMPTS[row] for row in rows]
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (width - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts])
    where = (POSITIONS | NUMBERED)[positions]([len(one) for one in prompts], width)
    edit = {SITE: (EDITS | OF_VECTORS)[operator](rows)} if operator else {}
    with write(model, edit, positions=where) as done:
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            use_cache=cache,
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    assert done.forwards == NEW
    return torch.stack(made.logits, dim=1)


CELLS = [("llama", operator, where) for operator in EDITS for where in POSITIONS]
CELLS += [("gpt2", "add", where) for where in POSITIONS]  # absolute positions
CELLS += [("llama", operator, "prompt") for operator in OF_VECTORS] + [("llama", "add", "numbers")]


@pytest.mark.parametrize(("family", "operator", "positions"), CELLS)
def test_equal_with_and_without_cache_and_padding(family, operator, positions):
    model = make_model(family)
    together = logits(model, [0, 1, 2], operator, positions, cache=True)
    uncached = logits(model, [0, 1, 2], operator, positions, cache=False)
    alone = [
        torch.cat([logits(model, [row], operator, positions, cache) for row in range(3)])
        for cache in (True, False)
    ]
    for other in (uncached, *alone):
        assert (other - together).abs().max() < 1e-4
    plain = logits(model, [0, 1, 2], None, "all", cache=True)
    touched = (together - plain).abs().amax(dim=2)  # [sentence, step]
    assert touched[:, 2:].min() > 1e-5  # every policy has changed something by the third token
    assert (touched[:, 0].max() == 0) == (positions == "generated")


def changed(model, positions, **inputs):
    with torch.no_grad(), write(model, {SITE: Edit("add", 1.0)}, positions=positions, trace=True) as done:
        model(**inputs)
    assert done.tokens == len(done.trace)
    return [(one.sentence, one.column) for one in done.trace]


def test_padding_on_the_right_is_never_touched():
    model = make_model("llama")
    batch = {
        "input_ids": torch.tensor([[1, 20, 30, 0], [1, 70, 80, 90]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]),
    }
    real = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert changed(model, "all", **batch) == changed(model, "prompt", **batch) == real
    assert changed(model, "last_prompt", **batch) == [(0, 2), (1, 3)]
    everything = torch.ones(2, 9, dtype=torch.bool)
    assert changed(model, everything, **batch) == real
    assert changed(model, lambda tokens: tokens.ids > 25, **batch) == [(0, 2), (1, 1), (1, 2), (1, 3)]
    only = torch.tensor([[False, True], [True, False]])
    assert changed(model, only, **batch) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("cache", [True, False])
def test_the_trace_names_every_token(cache):
    model = make_model("llama")
    ids = torch.tensor([[0, 1, 70], [1, 90, 100]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    with write(model, {SITE: Edit("zero")}, positions="generated", trace=True) as done:
        made = model.generate(
            input_ids=ids, attention_mask=mask, use_cache=cache, max_new_tokens=3, min_new_tokens=3
        )
    told = [(forward, column) for forward in (1, 2) for column in range(3, 3 + forward)]
    told = [(forward, column) for forward, column in told if not cache or column == forward + 2]
    expected = [
        Changed(forward, sentence, column, int(made[sentence, column]))
        for forward in (1, 2)
        for sentence in (0, 1)
        for one, column in told
        if one == forward
    ]
    assert done.trace == expected
    assert done.forwards == 3


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("options", [{"num_beams": 3}, {"do_sample": True, "top_k": 5}])
def test_beams_and_sampling(options, cache):
    """A change at the prompt's last token alone equals one at all prompt tokens of prompts of one token."""
    model = make_model("llama")
    made = []
    for positions in ("prompt", "last_prompt"):
        torch.manual_seed(3)
        with write(model, {SITE: Edit("add", 2.0)}, positions=positions) as done:
            ids = torch.tensor([[7], [9]])
            made.append(model.generate(ids, max_new_tokens=4, min_new_tokens=4, use_cache=cache, **options))
        assert done.tokens == (1 if cache else 4) * 2 * options.get("num_beams", 1)
    assert torch.equal(*made)
    torch.manual_seed(3)
    plain = model.generate(ids, max_new_tokens=4, min_new_tokens=4, use_cache=cache, **options)
    assert not torch.equal(plain, made[0])


def test_a_new_prompt_begins_anew():
    model = make_model("llama")
    with write(model, {SITE: Edit("add", 1.0)}, positions="prompt", trace=True) as done:
        for ids in ([[1, 2, 3]], [[1, 2, 4, 5]], [[1, 2]]):
            model(input_ids=torch.tensor(ids), use_cache=False)
    assert [sum(one.forward == number for one in done.trace) for number in range(3)] == [3, 4, 2]


def test_embeddings_in_place_of_ids():
    model = make_model("llama")
    embeds = model.get_input_embeddings()(torch.tensor([[1, 20, 30]])).detach()
    assert changed(model, "last_prompt", inputs_embeds=embeds) == [(0, 2)]
    with pytest.raises(ModelError, match="neither input_ids nor inputs_embeds"):
        changed(model, "all")


@pytest.mark.parametrize(
    ("positions", "error", "message"),
    [
        ("first", ArgumentError, "positions='first' must be one of all, prompt, generated, last_prompt"),
        (3.5, ArgumentTypeError, "positions=3.5 must be one of"),
        (torch.ones(1, 3), ArgumentError, "a boolean mask .*torch.float32"),
        (torch.ones(3, dtype=torch.bool), ArgumentError, r"of shape \(3,\)"),
        (torch.ones(2, 3, dtype=torch.bool), ArgumentError, "mask of 2 sentences, and the forward has 1"),
        (torch.zeros(1, 3, dtype=torch.bool), ArgumentError, r"matched no token in 1 forward\(s\)"),
        ("generated", ArgumentError, "positions='generated' matched no token"),
        (lambda tokens: [True], ArgumentError, r"must return a boolean tensor of shape \(1, 3\)"),
        (lambda tokens: tokens.ids, ArgumentError, "must return a boolean tensor"),
    ],
)
def test_bad_positions(positions, error, message):
    with pytest.raises(error, match=message):
        changed(make_model("llama"), positions, input_ids=torch.tensor([[1, 20, 30]]))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("clamp", 1.0), ArgumentTypeError, r"clamp takes \(low, high\)"),
        (("clamp", (None, None)), ArgumentTypeError, r"clamp takes \(low, high\)"),
        (("clamp", ("a", 1)), ArgumentTypeError, "must be numbers or tensors"),
        (("clamp", (2.0, 1.0)), ArgumentError, "the lower bound 2.0 is above"),
        (("project", 1.0), ArgumentTypeError, r"project takes a tensor \[unit\]"),
        (("project", torch.zeros(32)), ArgumentError, "this one is zero"),
        (("replace", torch.zeros(32)), ArgumentTypeError, r"replace takes a tensor \[sentence, unit\]"),
        (("set", True), ArgumentTypeError, "must be a number or a tensor"),
    ],
)
def test_edits_that_mean_nothing(arguments, error, message):
    with pytest.raises(error, match=message):
        Edit(*arguments)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit("project", torch.ones(3)), r"shape \(3,\); give a vector of \(32\)"),
        (Edit("replace", torch.ones(1, 3)), r"shape \(1, 3\); give a vector of \(32\)"),
        (Edit("replace", torch.ones(2, 32)), "vectors of 2 sentences, and the forward has 1"),
        (Edit("clamp", (torch.zeros(5), None)), r"shape \(5,\); give one number"),
        (Edit("set", torch.zeros(2, 32)), r"shape \(2, 32\); give one number"),
    ],
)
def test_values_must_fit(edit, message):
    model = make_model("llama")
    with pytest.raises(ArgumentError, match=message), write(model, {SITE: edit}):
        model(input_ids=torch.tensor([[1, 20, 30]]))
