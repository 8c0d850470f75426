"""What a write names is what it changes: prompt, generated tokens and padding are known, or refused."""

import copy
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import (
    DynamicCache,
    GenerationConfig,
    StaticCache,
    UnbatchedClassifierFreeGuidanceLogitsProcessor,
)

from tests.steering.whole_sequences import positions_of
from tests.tiny import make_model
from xalign import Site, UnitSet, steer
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.write import Edit, write

SITE = Site("hidden", 1)
IDS = torch.tensor([[0, 0, 1, 20, 30, 40], [1, 50, 60, 70, 80, 90]])
MASK = (IDS != 0).long()
MODEL = make_model("llama")
NAMED = ("prompt", "generated", "last_prompt")


def changed(model, call, positions="prompt", **options):
    """(forward, sentence, column) of every token that a call changes."""
    options |= {"positions": positions, "trace": True}
    with torch.no_grad(), write(model, {SITE: Edit("add", 1.0)}, **options) as done:
        call()
    return [(one.forward, one.sentence, one.column) for one in done.trace]


def cache_of(model, columns):
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(
            input_ids=IDS[:, :columns],
            attention_mask=MASK[:, :columns],
            position_ids=positions_of(MASK, 6)[:, :columns],
            past_key_values=cache,
        )
    return cache


@pytest.mark.parametrize("positions", NAMED)
def test_a_filled_cache_by_hand_needs_the_prompts_length(positions):
    """The tokens after a cache that another forward had filled were taken for a prompt, or for generated."""
    model = make_model("llama")
    cache = cache_of(model, 4)

    def go_on():
        model(input_ids=IDS[:, 4:], attention_mask=MASK, past_key_values=copy.deepcopy(cache))

    with pytest.raises(ArgumentError, match="give prompt_length=, a boolean mask, or positions='all'"):
        changed(model, go_on, positions)
    assert changed(model, go_on, "all") == [(0, 0, 4), (0, 0, 5), (0, 1, 4), (0, 1, 5)]
    known = {
        "prompt": [(0, 0, 4), (0, 1, 4)],
        "generated": [(0, 0, 5), (0, 1, 5)],
        "last_prompt": [(0, 0, 4), (0, 1, 4)],
    }
    assert changed(model, go_on, positions, prompt_length=5) == known[positions]
    each = {"prompt": [(0, 0, 4), (0, 0, 5)], "generated": [(0, 1, 4), (0, 1, 5)], "last_prompt": [(0, 0, 5)]}
    assert changed(model, go_on, positions, prompt_length=torch.tensor([6, 3])) == each[positions]


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 7), st.sampled_from(NAMED))
def test_chunks_by_hand_equal_one_forward(cut, width, positions):
    """A prompt in two chunks by hand had its second chunk taken for generated tokens."""
    model = MODEL
    options = {"positions": positions, "prompt_length": width}

    def whole():
        model(input_ids=IDS, attention_mask=MASK)

    def chunks():
        cache = DynamicCache(config=model.config)
        for start, stop in ((0, cut), (cut, 6)):
            if start < stop:
                model(input_ids=IDS[:, start:stop], attention_mask=MASK, past_key_values=cache)

    expected = []
    for sentence in (0, 1):
        for column in range(6):
            last = min(width, 6) - 1
            is_it = {"prompt": column < width, "generated": column >= width, "last_prompt": column == last}
            if MASK[sentence, column] and is_it[positions]:
                expected.append((sentence, column))
    if positions == "last_prompt" and width > 6:
        return  # the mask ends before the prompt does, which is an error of its own
    if not expected:
        with pytest.raises(ArgumentError, match="matched no token"):
            changed(model, whole, **options)
        return
    for call in (whole, chunks):
        assert sorted(one[1:] for one in changed(model, call, **options)) == expected


def test_a_static_cache_with_a_mask_of_its_full_length():
    """The last columns of the mask, which are of tokens to come, were taken for those of the forward."""
    model = make_model("llama")
    full = torch.zeros(2, 12, dtype=torch.long)
    full[:, :6] = MASK
    cache = StaticCache(config=model.config, max_cache_len=12)

    def call():
        model(input_ids=IDS, attention_mask=full, past_key_values=cache)

    real = [(0, row, column) for row in (0, 1) for column in range(6) if MASK[row, column]]
    assert changed(model, call, "all") == real
    cache.reset()
    assert changed(model, call, "last_prompt") == [(0, 0, 5), (0, 1, 5)]


@pytest.mark.parametrize("positions", ["all", *NAMED])
def test_a_mask_of_four_dimensions_is_refused_but_with_a_mask_of_positions(positions):
    """With a 4-D mask all tokens counted as real, padding too."""
    model = make_model("llama")
    four = torch.ones(2, 1, 6, 6, dtype=torch.bool).tril() & MASK.bool()[:, None, None]

    def call():
        model(input_ids=IDS, attention_mask=four)

    if positions not in ("prompt", "generated"):
        with pytest.raises(ArgumentError, match="give a boolean mask as positions="):
            changed(model, call, positions)
    chosen = torch.zeros(2, 6, dtype=torch.bool)
    chosen[1, 3] = True
    assert changed(model, call, chosen) == [(0, 1, 3)]


def test_packed_rows_are_told_apart():
    """Of several sequences in one row, only the last one's last token was taken for a prompt's last."""
    model = make_model("llama")
    position_ids = torch.tensor([[0, 1, 2, 0, 1, 0]])

    def call():
        model(input_ids=IDS[1:], position_ids=position_ids)

    assert changed(model, call, "last_prompt") == [(0, 0, 2), (0, 0, 4), (0, 0, 5)]
    assert changed(model, call, "prompt") == [(0, 0, column) for column in range(6)]
    assert changed(model, call, "prompt", prompt_length=1) == [(0, 0, 0), (0, 0, 3), (0, 0, 5)]
    assert changed(model, call, "generated", prompt_length=2) == [(0, 0, 2)]
    assert changed(model, call, "last_prompt", prompt_length=2) == [(0, 0, 1), (0, 0, 4), (0, 0, 5)]
    with pytest.raises(ArgumentError, match="these rows hold several sequences each"):
        changed(model, call, "prompt", prompt_length=torch.tensor([2]))


def test_a_cache_position_that_contradicts_the_cache_is_refused():
    """A wrong position was passed over."""
    model = make_model("llama")
    with pytest.raises(ModelError, match="cache_position says that the forward begins at column 2"):
        changed(model, lambda: model(input_ids=IDS[:, :2], cache_position=torch.tensor([2, 3])), "all")


def test_a_cache_that_does_not_say_its_length_is_refused():
    """A cache of another kind ended in an AttributeError."""
    model = make_model("llama")
    with pytest.raises(ArgumentError, match="a cache of type tuple does not say how many tokens"):
        changed(model, lambda: model(input_ids=IDS[:, :2], past_key_values=()), "all")


def test_a_longer_forward_by_hand_is_a_new_prompt():
    """A forward that began with the tokens of the one before had its other tokens taken for generated."""
    model = make_model("llama")

    def call():
        for columns in (3, 5):
            model(input_ids=IDS[1:, :columns], use_cache=False)

    assert len(changed(model, call, "prompt")) == 3 + 5
    with pytest.raises(ArgumentError, match="matched no token"):
        changed(model, call, "generated")


def test_beams_of_a_mask_of_prompts():
    """A mask with one row for each prompt was refused under beams."""
    model = make_model("llama")
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[0, 3] = mask[1, 6] = True

    def call():
        model.generate(IDS, attention_mask=MASK, num_beams=3, max_new_tokens=3, min_new_tokens=3)

    expected = [(0, row, 3) for row in (0, 1, 2)] + [(1, row, 6) for row in (3, 4, 5)]
    assert changed(model, call, mask) == expected


@pytest.mark.parametrize("more", [{}, {"prefill_chunk_size": 3}, {"cache_implementation": "static"}], ids=str)
def test_padding_that_transformers_works_out(more):
    """Without attention_mask, generate takes padding ids for padding, of which a chunk shows a part."""
    model = make_model("llama")
    options = {"max_new_tokens": 2, "min_new_tokens": 2, "pad_token_id": 0, **more}
    known = changed(model, lambda: model.generate(IDS, attention_mask=MASK, **options), "last_prompt")
    assert [one[1:] for one in known] == [(0, 5), (1, 5)]
    if not more:
        assert changed(model, lambda: model.generate(IDS, **options), "last_prompt") == known
        return
    with pytest.raises(ArgumentError, match="attention_mask|boolean mask"):
        changed(model, lambda: model.generate(IDS, **options), "last_prompt")


def test_generate_that_a_logits_processor_runs_the_model_in():
    """A second sequence inside generate was taken for generate's own."""
    model = make_model("llama")

    def processor(input_ids, scores):
        model(input_ids=input_ids[:, -2:])
        return scores

    def call():
        options = {"max_new_tokens": 3, "min_new_tokens": 3, "logits_processor": [processor]}
        model.generate(IDS, attention_mask=MASK, **options)

    for positions in (*NAMED, torch.ones(2, 9, dtype=torch.bool)):
        with pytest.raises(ArgumentError, match="not generate's own"):
            changed(model, call, positions)
    with write(model, {SITE: Edit("add", 1.0)}) as done:
        call()
    assert done.forwards == 6


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
def test_a_prompt_tuned_model_is_steered_at_all_tokens_or_refused():
    """The tokens that prompt tuning puts in front moved every position."""
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    model = get_peft_model(make_model("llama"), config)
    options = {"attention_mask": MASK, "max_new_tokens": 3, "min_new_tokens": 3}
    for positions in NAMED:
        with pytest.raises(ArgumentError, match="tokens of its own before the prompt"):
            changed(model, lambda: model.generate(input_ids=IDS, **options), positions)


def test_an_adapted_model_and_a_prompt_length_that_goes_before():
    """`prompt_length` holds under generate too, where the caller knows better."""
    model = get_peft_model(make_model("llama"), LoraConfig(target_modules="all-linear"))

    def call():
        model.generate(input_ids=IDS, attention_mask=MASK, max_new_tokens=2, min_new_tokens=2)

    assert changed(model, call, "generated") == [(1, 0, 6), (1, 1, 6)]
    assert changed(model, call, "generated", prompt_length=5)[:2] == [(0, 0, 5), (0, 1, 5)]
    assert changed(model, call, "last_prompt", prompt_length=7) == [(1, 0, 6), (1, 1, 6)]


@pytest.mark.parametrize(
    ("prompt_length", "error"),
    [
        (0, ArgumentError),
        (True, ArgumentTypeError),
        ("3", ArgumentTypeError),
        (torch.tensor([2.0]), ArgumentError),
        (torch.tensor([0, 2]), ArgumentError),
        (torch.tensor(3), ArgumentError),
        (torch.tensor([3, 3, 3]), ArgumentError),
    ],
)
def test_a_prompt_length_that_means_nothing(prompt_length, error):
    """There was no such argument."""
    model = make_model("llama")
    with pytest.raises(error, match="prompt_length"):
        changed(model, lambda: model(input_ids=IDS, attention_mask=MASK), prompt_length=prompt_length)


def test_continuous_batching_is_refused():
    """It ran unsteered, or at wrong tokens, in another thread."""
    model = make_model("llama")
    with write(model, {SITE: Edit("add", 1.0)}):
        for name in ("generate_batch", "init_continuous_batching", "continuous_batching_context_manager"):
            with pytest.raises(ModelError, match=f"{name} runs the model in another thread"):
                getattr(model, name)([[1, 2, 3]])
        with pytest.raises(ModelError, match="in another thread"):
            model.generate(IDS, cache_implementation="paged")


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_generate_is_what_it_was(own, error):
    """The method that is replaced while a write is open must be put back, whatever happens."""
    model = make_model("llama")
    if own:
        model.generate = lambda *args, **kwargs: type(model).generate(model, *args, **kwargs)
    before = dict(vars(model))
    try:
        with write(model, {SITE: Edit("add", 1.0)}), write(model, {SITE: Edit("add", 1.0)}):
            assert vars(model)["generate"] is not before.get("generate")
            if error:
                raise error
            model(input_ids=IDS)
    except (KeyboardInterrupt, ValueError):
        assert error
    assert vars(model) == before


def test_writes_of_two_threads_end_in_any_order():
    """The first to end must not take the method of the other, nor put back an old one."""
    model = make_model("llama")
    entered, leave = threading.Event(), threading.Event()

    def other():
        with write(model, {SITE: Edit("add", 1.0)}):
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=other)
    with write(model, {SITE: Edit("add", 1.0)}):
        thread.start()
        assert entered.wait(20)
    assert "generate" in vars(model)  # the other still watches
    leave.set()
    thread.join()
    assert "generate" not in vars(model)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "olmo2"])
@pytest.mark.parametrize("asked_before", [False, True])
def test_hidden_states_are_those_that_the_model_runs_on(family, asked_before):
    """Once states had been asked for, they showed the values from before the edit."""
    model = make_model(family)
    seen = []
    with torch.no_grad():
        if asked_before:
            model(input_ids=IDS[1:], output_hidden_states=True)
        order = [list(module._forward_hooks) for module in model.modules()]
        blocks = [module for name, module in model.named_modules() if name.endswith(("layers.2", "h.2"))]
        handle = blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        outer, inner = Edit("add", 3.0), Edit("scale", 2.0)
        with write(model, {SITE: outer}), write(model, {SITE: inner}):
            states = model(input_ids=IDS[1:], output_hidden_states=True).hidden_states
        handle.remove()
    assert torch.equal(states[2], seen[0])
    if asked_before:
        assert [list(module._forward_hooks) for module in model.modules()] == order


def test_steer_takes_a_prompt_length_too():
    """`steer` is how most users write."""
    model = make_model("llama")
    cache = cache_of(model, 4)
    units = UnitSet.from_rows([("x", "1.inner", 7, 1, 2.5)])
    with torch.no_grad(), steer(model, units, positions="generated", prompt_length=5, trace=True) as done:
        model(input_ids=IDS[:, 4:], attention_mask=MASK, past_key_values=cache)
    assert [(one.sentence, one.column) for one in done.trace] == [(0, 5), (1, 5)]


@pytest.mark.parametrize("whole_first", [False, True])
def test_a_part_of_the_model_is_not_steered_by_halves(whole_first):
    """A call of `model.model` ran unedited, or with the positions of the forward before it."""
    with (
        torch.no_grad(),
        pytest.raises(ModelError, match="the whole model, not a part of it"),
        write(MODEL, {SITE: Edit("add", 1.0)}, positions="last_prompt"),
    ):
        if whole_first:
            MODEL(IDS, attention_mask=MASK)
        MODEL.model(IDS, attention_mask=MASK)


def test_a_thread_that_generates_is_said():
    """Streaming in a thread was silently not steered, once this thread had run a forward."""
    with (
        torch.no_grad(),
        pytest.warns(UserWarning, match="generate was also called in another thread"),
        write(MODEL, {SITE: Edit("add", 1.0)}),
    ):
        MODEL(IDS, attention_mask=MASK)
        other = threading.Thread(
            target=lambda: MODEL.generate(IDS, attention_mask=MASK, max_new_tokens=1, pad_token_id=0)
        )
        other.start()
        other.join()


def test_a_prompt_length_beyond_everything():
    """A mask was made as wide as the number, which no memory holds."""
    call = lambda: MODEL.generate(IDS, attention_mask=MASK, max_new_tokens=2, pad_token_id=0)  # noqa: E731
    all_columns = changed(MODEL, call, positions="all")
    assert changed(MODEL, call, positions="prompt", prompt_length=10**12) == all_columns


class Boom(Exception):
    pass


PARTS = {
    "model.forward": lambda model, ids: model.forward(input_ids=ids),
    "its body": lambda model, ids: model.model(input_ids=ids),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("where", [0, 1, 2, "lm_head"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_forward_that_failed_is_over(part, where, wrapped):
    """What was run after it was taken for a part of it, and changed at its tokens, or refused wrongly."""
    inner = make_model("llama")
    model = get_peft_model(inner, LoraConfig(target_modules=["q_proj"])) if wrapped else inner
    ids = torch.tensor([[1, 20, 31, 40, 50]])
    left = [Boom]

    def fail(module, given):
        if left:
            raise left.pop()

    at = inner.lm_head if where == "lm_head" else inner.model.layers[where]
    handle = at.register_forward_pre_hook(fail)
    mask = torch.tensor([[True, False, False, False, False]])
    with torch.no_grad(), write(model, {SITE: Edit("add", 1.0)}, positions=mask, trace=True) as done:
        with pytest.raises(Boom):
            model(input_ids=ids)
        with pytest.raises(ModelError, match="fired outside a forward of the visited model"):
            PARTS[part](inner, ids.flip(1))
        model(input_ids=ids)
    handle.remove()
    assert [(one.forward, one.column, one.token) for one in done.trace] == [(0, 0, 1), (1, 0, 1)]


OTHER = torch.tensor([[90, 91, 92, 93, 94, 95, 96, 97, 98]])
GUIDED = {
    "a longer prompt": {"guidance_scale": 1.5, "negative_prompt_ids": OTHER},
    "a prompt that begins with the first": {
        "guidance_scale": 1.5,
        "negative_prompt_ids": torch.cat([IDS[1:], OTHER], dim=1),
    },
    "no prompt": {"guidance_scale": 1.5},
    "in a config": {"generation_config": GenerationConfig(guidance_scale=1.5)},
    "as a processor": {"logits_processor": ["made in the test"]},
}


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(
    ("guided", "embeds"),
    [*((guided, False) for guided in GUIDED), *((guided, True) for guided in list(GUIDED)[:2])],
)
def test_guidance_is_refused_whatever_its_second_prompt(guided, use_cache, embeds):
    """Without a cache, a longer second prompt was steered as if it were generate's own.

    The way out that the error named, `positions="all"`, was refused too where a trace was asked for.
    """
    model, ids = make_model("llama"), IDS[1:]
    options = {"max_new_tokens": 2, "min_new_tokens": 2, "pad_token_id": 0} | GUIDED[guided]
    if guided == "as a processor":
        second = torch.cat([ids, OTHER], dim=1)
        options["logits_processor"] = [
            UnbatchedClassifierFreeGuidanceLogitsProcessor(1.5, model, second, use_cache=use_cache)
        ]
    if guided == "in a config":
        options["generation_config"].use_cache = use_cache
    else:
        options["use_cache"] = use_cache
    prompt = {"inputs_embeds": model.get_input_embeddings()(ids).detach()} if embeds else {"input_ids": ids}

    def call():
        model.generate(**prompt, attention_mask=MASK[1:], **options)

    for positions in (*NAMED, torch.ones(1, 9, dtype=torch.bool)):
        with pytest.raises(ArgumentError, match="not generate's own, as guidance does"):
            changed(model, call, positions)
    with pytest.raises(ArgumentError, match="give trace=False: a trace needs"):
        changed(model, call, "all")
    for positions in ("all", lambda tokens: torch.ones(tokens.shape, dtype=torch.bool)):
        with torch.no_grad(), write(model, {SITE: Edit("add", 1.0)}, positions=positions) as done:
            call()
        assert done.forwards == 4


@pytest.mark.parametrize("scale", [None, 1, 1.0])
def test_a_scale_of_one_is_no_guidance(scale):
    def call():
        MODEL.generate(IDS, attention_mask=MASK, max_new_tokens=1, pad_token_id=0, guidance_scale=scale)

    assert len(changed(MODEL, call, "last_prompt")) == 2


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("embeds", [True, False])
@pytest.mark.parametrize("run", ["ids", "embeds"])
def test_other_tokens_in_a_logits_processor(run, embeds, use_cache):
    """Embeddings that a logits processor ran without a cache were taken for generate's own."""
    model = make_model("llama")
    embed = model.get_input_embeddings()
    prompt = {"inputs_embeds": embed(IDS).detach()} if embeds else {"input_ids": IDS}

    def processor(input_ids, scores):
        other = OTHER.repeat(2, 1)
        model(**{"input_ids": other} if run == "ids" else {"inputs_embeds": embed(other).detach()})
        return scores

    def call():
        options = {"max_new_tokens": 2, "pad_token_id": 0, "use_cache": use_cache}
        model.generate(**prompt, attention_mask=MASK, logits_processor=[processor], **options)

    for positions in (*NAMED, torch.ones(2, 9, dtype=torch.bool)):
        with pytest.raises(ArgumentError, match="not generate's own"):
            changed(model, call, positions)
