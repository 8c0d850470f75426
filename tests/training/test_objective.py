"""`AlignmentObjective`: against losses written by hand, early exit, chunks, replay, and what it refuses."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy, normalize

from tests.quick import one_each
from tests.tiny import FAMILIES, enable_checkpointing, make_model, make_tokenizer
from tests.training.runs import BUNDLED, gradients_of, relative_difference, rows_of, training_pairs
from xalign import ParallelPairs
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, PairsError
from xalign.losses.similarity import is_same
from xalign.training import pair_forward
from xalign.training.config import AlignmentConfig
from xalign.training.objective import AlignmentObjective

HELD_OUT = rows_of(BUNDLED, 100, 150)
LOSSES = [{"loss": "contrastive", "layer": 1}, {"loss": "neuron_state", "layer": "all"}, {"loss": "cosine"}]


def make_objective(model=None, pairs=None, **options):
    return AlignmentObjective(
        make_model("llama") if model is None else model,
        make_tokenizer(),
        training_pairs() if pairs is None else pairs,
        **{"loss": "contrastive", "batch_size": 8, "layer": 1} | options,
    )


def gradients(objective, *place):
    objective.model.zero_grad()
    loss = objective(*place) if place else objective(0)
    loss.backward()
    return loss.item(), gradients_of(objective.model)


def by_hand(objective, block, state, weighted, temperature=0.05):
    """The loss of one layer written out: one sentence at a time, hidden states or gates, two-way InfoNCE."""
    tokenizer, model = make_tokenizer(), objective.model
    sides = {"language": [], "pivot": []}
    codes = []
    for code, row in objective.pairs_of(0):
        bitext = objective.pairs[code]
        codes.append(code)
        for side, text in (("language", bitext.sentences[row]), ("pivot", bitext.pivot_sentences[row])):
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            if state == "hidden":
                values = model(input_ids=ids, output_hidden_states=True).hidden_states[block + 1][0]
            else:
                kept = []
                gate = model.model.layers[block].mlp.gate_proj
                handle = gate.register_forward_hook(
                    lambda module, args, output, kept=kept: kept.append(output)
                )
                model(input_ids=ids)
                handle.remove()
                values = torch.sigmoid(4 * kept[0][0])
            weights = torch.arange(1.0, len(values) + 1) if weighted else torch.ones(len(values))
            sides[side].append((weights / weights.sum()) @ values)
    language, pivot = torch.stack(sides["language"]), torch.stack(sides["pivot"])
    language = torch.stack(
        [
            vector - torch.stack([v for v, c in zip(language, codes, strict=True) if c == code]).mean(0)
            for vector, code in zip(language, codes, strict=True)
        ]
    )
    pivot = pivot - pivot.mean(0)
    scores = normalize(language, dim=1) @ normalize(pivot, dim=1).T / temperature
    own = torch.arange(len(codes))
    return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2


@pytest.mark.parametrize("languages_per_batch", [1, 2, 4])
def test_the_losses_are_those_written_by_hand(languages_per_batch):
    objective = make_objective(languages_per_batch=languages_per_batch, weight=2.0, seed=2)
    assert len({mark for pair in objective._stream.draw(0).same.tolist() for mark in pair}) == 16
    expected = 2 * by_hand(objective, 1, "hidden", weighted=False)
    assert objective(0).item() == pytest.approx(expected.item(), rel=1e-5)
    objective = make_objective(
        loss="neuron_state",
        layer={0: 1, 2: 3},
        languages_per_batch=languages_per_batch,
        temperature=0.2,
        seed=2,
    )
    lower, upper = (by_hand(objective, block, "gate", weighted=True, temperature=0.2) for block in (0, 2))
    assert objective(0).item() == pytest.approx((lower / 4 + upper * 3 / 4).item(), rel=1e-5)


@pytest.mark.parametrize(("family", "options"), one_each(FAMILIES, LOSSES))
def test_leaving_early_changes_neither_loss_nor_gradient(family, options, monkeypatch):
    objective = make_objective(make_model(family), **options)
    objective._forward.per_batch = 10**6  # one forward, as where it runs whole
    early = gradients(objective)
    monkeypatch.setattr(pair_forward, "is_sharded", lambda model: True)
    ran = []
    blocks = [module for name, module in objective.model.named_modules() if name.split(".")[-1] == "2"]
    handles = [block.register_forward_hook(lambda *_: ran.append(1)) for block in blocks]
    with pytest.warns(UserWarning, match="the forward of the pairs runs whole"):
        whole = gradients(objective)
    assert ran  # the top block ran
    assert early[0] == whole[0]
    assert relative_difference(early[1], whole[1]) < 1e-6
    monkeypatch.undo()
    ran.clear()
    gradients(objective)
    assert not ran  # nor finished, where it was needed in part
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("options", [*LOSSES, {"loss": "transport", "layer": "all", "pool": None}])
def test_lengths_that_run_apart_give_the_gradient_of_one_forward(options):
    objective = make_objective(make_model("llama").double(), **options)
    shapes = []
    objective.model.model.layers[0].register_forward_hook(lambda *parts: shapes.append(parts[2].shape[:2]))
    objective._forward.per_batch = 10**6
    loss, whole = gradients(objective)
    ((lines, tokens),) = shapes
    for per_batch in (8, 0):
        objective._forward.per_batch = per_batch
        shapes.clear()
        found = gradients(objective)
        assert len(shapes) > 1 and sum(one * longest for one, longest in shapes) < lines * tokens
        assert found[0] == pytest.approx(loss, rel=1e-10)
        assert relative_difference(found[1], whole) < 1e-10


@pytest.mark.parametrize("options", LOSSES)
@pytest.mark.parametrize("chunk_size", [1, 3, 8])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_chunks_give_the_gradient_of_the_whole_batch(options, chunk_size, checkpointed):
    model = make_model("llama").double()
    whole = gradients(make_objective(model, **options))
    if checkpointed:
        enable_checkpointing(model)
        model.train()
    forwards = []
    handle = model.model.layers[0].register_forward_hook(lambda *_: forwards.append(1))
    chunked = gradients(make_objective(model, chunk_size=chunk_size, **options))
    handle.remove()
    assert len(forwards) > 3 if chunk_size < 8 else True
    assert chunked[0] == pytest.approx(whole[0], rel=1e-6)
    assert relative_difference(chunked[1], whole[1]) < 1e-6


def test_chunks_repeat_the_dropout_of_their_first_run():
    model = make_model("llama", attention_dropout=0.3).train()
    objective = make_objective(model, chunk_size=2)
    torch.manual_seed(0)
    first = gradients(objective)
    torch.manual_seed(0)
    again = gradients(objective)
    torch.manual_seed(1)
    other = gradients(objective)
    assert first[0] == again[0] != other[0]
    assert relative_difference(first[1], again[1]) == 0
    # The gradient belongs to the loss: along it the loss falls by as much as it says.
    step = 1e-4 / sum(grad.square().sum() for grad in first[1].values()).item()
    losses = []
    for distance in (step, -2 * step):  # one step up, then one step down from where it was
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in first[1]:
                    parameter += distance * first[1][name]
        torch.manual_seed(0)
        losses.append(objective(0).item())
    assert losses[1] - losses[0] == pytest.approx(-2e-4, rel=0.05)


def test_calls_depend_on_step_and_micro_step_alone():
    objective = make_objective()
    draws = [objective.pairs_of(*place) for place in ((0, 0), (0, 1), (1, 0), (0, 0, 1))]
    assert len({tuple(draw) for draw in draws}) == 4
    again = make_objective()
    again(5)
    assert again.pairs_of(0, 1) == draws[1]
    assert make_objective(seed=1).pairs_of(0) != draws[0]
    for draw in draws:
        assert len(set(draw)) == len(draw) == 8


def test_languages_share_a_batch_evenly():
    objective = make_objective(batch_size=10, languages_per_batch=4)
    counts = {}
    for step in range(50):
        drawn = [code for code, _ in objective.pairs_of(step)]
        per_language = {code: drawn.count(code) for code in set(drawn)}
        assert sorted(per_language.values()) == [2, 2, 3, 3]
        for code, count in per_language.items():
            counts[code] = counts.get(code, 0) + count
    assert len(counts) == 4
    assert max(counts.values()) - min(counts.values()) < 40
    assert make_objective(batch_size=8)._stream.languages_per_batch == 1
    assert make_objective(batch_size=32)._stream.languages_per_batch == 4


def test_pairs_of_one_meaning_are_no_negatives():
    texts = {
        "eng_Latn": ["Thanks.", "Thank you.", "It rains.", "Good night."],
        "deu_Latn": ["Danke.", "Danke.", "Es regnet.", "Gute Nacht."],
        "spa_Latn": ["Gracias.", "Te doy las gracias.", "Llueve.", "Buenas noches."],
    }
    with pytest.warns(UserWarning, match="deu_Latn 1"):
        pairs = ParallelPairs(texts)
    objective = make_objective(pairs=pairs, batch_size=8, languages_per_batch=2)
    drawn = objective._stream.draw(0)
    same = is_same(drawn.same, drawn.same)
    masked = {
        frozenset((one, other))
        for one, row in zip(drawn.names, same, strict=True)
        for other, shared in zip(drawn.names, row, strict=True)
        if shared and one != other
    }
    one_pivot = {frozenset((("deu_Latn", row), ("spa_Latn", row))) for row in "0123"}
    # Not the second "Danke." and the first "Gracias.": no sentence is in both pairs.
    assert masked == one_pivot | {frozenset((("deu_Latn", "0"), ("deu_Latn", "1")))}


def test_weight_zero_runs_nothing():
    objective = make_objective(weight=0.0)
    ran = []
    handle = objective.model.model.layers[0].register_forward_hook(lambda *_: ran.append(1))
    assert objective(0).item() == 0.0
    handle.remove()
    assert not ran


def test_the_pivot_stays_where_it_is_on_request():
    objective = make_objective(detach_pivot=True, loss="cosine")
    plain = make_objective(loss="cosine")
    assert objective(0).item() == plain(0).item()
    assert relative_difference(gradients(objective)[1], gradients(plain)[1]) > 0.1


def test_replay_adds_the_loss_of_its_documents(tmp_path):
    texts = list(HELD_OUT["deu_Latn"].sentences[:16])
    objective = make_objective(replay=texts, replay_batch_size=16, replay_weight=0.5)
    tokenizer, model = make_tokenizer(), objective.model
    losses, counts = [], []
    for text in texts:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        losses.append(model(input_ids=ids, labels=ids).loss.item())
        counts.append(ids.shape[1] - 1)
    expected = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
    assert objective(0).item() - make_objective()(0).item() == pytest.approx(0.5 * expected, rel=1e-4)
    assert objective.last.replay_loss.item() == pytest.approx(expected, rel=1e-5)
    (tmp_path / "text.txt").write_text("\n".join(texts), encoding="utf-8")
    assert make_objective(replay="text.txt", replay_batch_size=16, replay_weight=0.5)(0) == objective(0)
    assert objective._replay.loss(model, 0, 0, 0) == objective._replay.loss(model, 0, 0, 0)


def test_replay_without_the_alignment_loss():
    texts = list(HELD_OUT["deu_Latn"].sentences[:16])
    objective = make_objective(weight=0.0, replay=texts)
    assert objective.is_active
    loss = objective(0)
    assert objective.last.replay_loss == loss.detach()
    assert objective.last.loss is None
    assert not make_objective(weight=0.0, replay=texts, replay_weight=0.0).is_active
    assert not make_objective(weight=0.0).is_active


def test_what_the_last_call_saw():
    objective = make_objective(weight=3.0)
    loss = objective(0)
    assert objective.last.loss.item() == pytest.approx(loss.item() / 3)
    assert len(objective.last.codes) == 8
    for values in (objective.last.in_batch.accuracy, objective.last.in_batch.positive):
        assert values.shape == (8,)
        assert not values.requires_grad


@pytest.mark.filterwarnings("ignore:no block is above its lexical floor")
def test_auto_takes_the_layer_with_the_highest_margin_and_headroom():
    objective = make_objective(layer="auto", held_out=HELD_OUT)
    (block,) = objective.layers
    assert objective.reason.startswith(f"block {block}: mexa ")
    states = make_objective(layer="auto", held_out=HELD_OUT, loss="neuron_state")
    assert ": nasca " in states.reason


@pytest.mark.filterwarnings("ignore:no block is above its lexical floor")
def test_auto_measures_every_held_out_set_in_the_languages_trained():
    both = [HELD_OUT.only(["deu_Latn"]), HELD_OUT.only(["spa_Latn", "zho_Hans"])]
    options = {"layer": "auto", "languages": ["deu_Latn", "spa_Latn"]}
    together = make_objective(held_out=HELD_OUT, **options)
    config = AlignmentConfig(loss="contrastive", batch_size=8, held_out=both[1], **options)
    apart = AlignmentObjective(
        make_model("llama"), make_tokenizer(), training_pairs(), held_out=both[0], config=config
    )
    assert apart.held_out == both
    assert apart.reason == together.reason
    with pytest.raises(ArgumentError, match="held_out has none of the languages trained on, deu_Latn"):
        make_objective(layer="auto", held_out=HELD_OUT.only(["rus_Cyrl"]), languages=["deu_Latn"])


def test_auto_cuts_what_is_trained_cut():
    long = {"eng_Latn": ["It rains. " * 300] + ["a b"], "deu_Latn": ["Es regnet. " * 300] + ["c d"]}
    with pytest.raises(ArgumentError, match=r"an alignment loss: max_length="):
        make_objective(layer="auto", held_out=ParallelPairs(long))
    with pytest.warns(UserWarning, match="no block is above its lexical floor .* name a layer"):
        assert make_objective(layer="auto", held_out=ParallelPairs(long), max_length=20).layers


def test_adapters_and_half_precision():
    config = LoraConfig(r=4, target_modules=["q_proj"], layers_to_transform=[0], task_type="CAUSAL_LM")
    model = get_peft_model(make_model("llama"), config)
    objective = make_objective(model)
    assert all("lora_" in name for name in gradients(objective)[1])
    half = make_objective(make_model("llama").bfloat16(), loss="neuron_state", layer="all", temperature=0.5)
    full = make_objective(loss="neuron_state", layer="all", temperature=0.5)
    assert half(0).dtype == torch.float32
    assert half(0).item() == pytest.approx(full(0).item(), rel=0.1)


def test_adapters_above_the_layer_train_nothing():
    config = LoraConfig(r=4, target_modules=["q_proj"], layers_to_transform=[2], task_type="CAUSAL_LM")
    with pytest.raises(ModelError, match="no trainable parameter lies below 1.hidden"):
        make_objective(get_peft_model(make_model("llama"), config))
    make_objective(get_peft_model(make_model("llama"), config), layer="all")
    model = get_peft_model(make_model("llama"), config)
    model.enable_input_require_grads()  # as trainers do for checkpointing
    with pytest.raises(ModelError, match="no trainable parameter lies below 1.hidden"):
        make_objective(model)


def test_cosine_works_on_one_pair_of_a_language():
    assert make_objective(loss="cosine", batch_size=1)(0) > 0
    assert make_objective(loss="cosine", batch_size=4, languages_per_batch=4)(0) > 0


def test_a_model_frozen_or_broken_on_the_way():
    objective = make_objective()
    objective.model.requires_grad_(False)
    with pytest.raises(ModelError, match="has no gradient: nothing trainable lies below its layers now"):
        objective(0)
    with torch.no_grad(), pytest.raises(ModelError, match=r"asked for under torch.no_grad\(\)"):
        make_objective()(0)
    objective = make_objective()
    with torch.no_grad():
        objective.model.model.layers[0].mlp.down_proj.weight.fill_(float("nan"))
    code, row = objective.pairs_of(7)[0]
    with pytest.raises(ModelError, match=f"the alignment loss is nan at step 7, .* pairs {code} {row}"):
        objective(7)


def test_identical_sentences_are_counted():
    texts = {"eng_Latn": ["Berlin", "Madrid", "It rains."], "deu_Latn": ["Berlin", "Madrid", "Es regnet."]}
    with pytest.warns(UserWarning, match=r"same on both sides \(deu_Latn 2\)"):
        make_objective(pairs=ParallelPairs(texts), batch_size=2)


FROZEN = make_model("llama").requires_grad_(False)
SMALL = make_model("llama", vocab_size=499)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": 3}, ArgumentError, "layer=3: the model has blocks 0 to 2"),
        ({"layer": -1}, ArgumentError, "layer=-1: -1 is negative"),
        ({"layer": "-1"}, ArgumentError, "-1 is negative"),
        ({"layer": 1.5}, ArgumentError, r"1.5 is a share of the depth and must lie in \(0, 1\]"),
        ({"layer": [0.4, 1]}, ArgumentError, "is block 1, which is named twice"),
        ({"layer": "middle"}, ArgumentError, "layer='middle' must be like '8'"),
        ({"layer": []}, ArgumentError, "names no layer"),
        ({"layer": {1: 0.0}}, ArgumentError, "weight 0.0 must be above 0"),
        ({"layer": None}, ArgumentTypeError, "layer=None must be a layer"),
        ({"layer": True}, ArgumentTypeError, "True is not a number"),
        ({"layer": "auto"}, ArgumentError, "layer='auto' is settled by measuring: give held_out="),
        ({"batch_size": 1}, ArgumentError, "batch_size=1: contrastive compares each pair"),
        ({"batch_size": 0, "loss": "cosine"}, ArgumentError, "batch_size=0 must be at least 1"),
        ({"batch_size": 8.0}, ArgumentTypeError, "batch_size=8.0 must be a whole number"),
        ({"temperature": 0}, ArgumentError, "temperature=0 must be above 0"),
        ({"temperature": "hot"}, ArgumentTypeError, "temperature='hot' must be a number"),
        ({"weight": -1.0}, ArgumentError, "weight=-1.0 must be 0 or above 0"),
        ({"weight": float("nan")}, ArgumentError, "weight=nan"),
        (
            {"loss": "infonce"},
            ArgumentError,
            "loss='infonce' must be one of contrastive, cosine, neuron_state",
        ),
        ({"kind": "linear"}, ArgumentError, "kind='linear' must be one of hidden"),
        ({"loss": "neuron_state", "kind": "hidden"}, ArgumentError, "kind='hidden' must be one of gate"),
        ({"pool": "cls"}, ArgumentError, "pool='cls' must be one of"),
        ({"mode": "both"}, ArgumentError, "mode='both' must be one of joint, alternate"),
        ({"direction": "down"}, ArgumentError, "direction='down' must be one of"),
        ({"alternate_every": 1}, ArgumentError, "alternate_every=1 must be at least 2"),
        ({"chunk_size": 0}, ArgumentError, "chunk_size=0 must be at least 1"),
        ({"gather": True, "loss": "cosine"}, ArgumentError, "gather=True has no meaning"),
        ({"centre": 1}, ArgumentTypeError, "centre=1 must be true or false"),
        ({"max_length": 1}, ArgumentError, "max_length=1 must be at least 2"),
        ({"languages_per_batch": 5}, ArgumentError, "languages_per_batch=5 must be at most 4"),
        ({"batch_size": 6, "languages_per_batch": 4}, ArgumentError, "leaves one pair of some"),
        ({"batch_size": 101, "languages_per_batch": 1}, PairsError, r"too few pairs in .*deu_Latn \(100\)"),
        (
            {"held_out": training_pairs().first(3)},
            PairsError,
            r"eng_Latn 3, .*training.overlap\(measured\) lists them",
        ),
        ({"max_length": 2, "template": "{text} and"}, None, None),
        ({"replay": "nowhere.txt"}, ArgumentError, "replay='nowhere.txt' cannot be read"),
        ({"replay": ["a b c"]}, ArgumentError, r"replay holds 1 document\(s\)"),
        ({"replay": 5}, ArgumentTypeError, "replay must be a file or a list of texts"),
        ({"replay": "text.jsonl"}, ArgumentError, "replay='text.jsonl' is JSON; give a text file"),
        ({"replay": [__file__] * 8}, ArgumentError, "replay holds the names of files, like '.*would learn"),
        ({"pivot": "spa_Latn"}, ArgumentError, "pivot='spa_Latn', and the pairs given have the pivot eng"),
        ({"model": FROZEN}, ModelError, "no trainable parameter lies below 1.hidden"),
        ({"pairs": "nowhere"}, PairsError, "nowhere"),
        ({"model": make_model("llama", vocab_size=300)}, ArgumentError, "the model embeds 300 tokens: pass"),
        (
            {"model": make_model("bert"), "replay": ["a b c"] * 8},
            ModelError,
            "BertModel is not one; leave",
        ),
        ({"replay": ["a b"] * 7 + ["\U0001f600"], "model": SMALL}, ArgumentError, "embeds 499 tokens"),
    ],
)
def test_bad_input(options, error, message):
    if error is None:
        make_objective(**options)
        return
    with pytest.raises(error, match=message):
        make_objective(**options)


def test_config_or_fields():
    config = AlignmentConfig(batch_size=4, layer=0)
    built = AlignmentObjective(make_model("llama"), make_tokenizer(), training_pairs(), config=config)
    assert built.layers == {0: 1.0}
    carried = AlignmentConfig(pairs=training_pairs(), batch_size=4, layer=0)
    assert AlignmentObjective(make_model("llama"), make_tokenizer(), config=carried).pairs is carried.pairs
    with pytest.raises(ArgumentError, match=r"pairs= and config.pairs are both given and differ"):
        AlignmentObjective(make_model("llama"), make_tokenizer(), HELD_OUT, config=carried)
    with pytest.raises(ArgumentError, match="no pairs to train on: give pairs="):
        AlignmentObjective(make_model("llama"), make_tokenizer())
    with pytest.raises(ArgumentTypeError, match="config must be an AlignmentConfig, not dict"):
        AlignmentObjective(make_model("llama"), make_tokenizer(), training_pairs(), config={"layer": 1})
    with pytest.raises(ArgumentError, match=r"give config= or its fields \(layer\), not both"):
        AlignmentObjective(make_model("llama"), make_tokenizer(), training_pairs(), config=config, layer=1)
    with pytest.raises(ArgumentTypeError, match="tokenizer must be a transformers tokenizer, not str"):
        AlignmentObjective(make_model("llama"), "tokenizer", training_pairs())
    with pytest.raises(TypeError, match="layers"):
        AlignmentObjective(make_model("llama"), make_tokenizer(), training_pairs(), layers=1)
