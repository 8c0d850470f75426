"""Files for the `steered` model of lm-evaluation-harness: read by hand, and by a run of lm-eval itself."""

import json
import re

import pytest
import torch

from tests.exports.edited import IDS, assert_within_rounding, hooked_and_plain, make, units_at, vector_at
from tests.tiny import FFN, ROOT, WIDTH, make_tokenizer
from xalign import Site, UnitSet, steer
from xalign.errors import ArgumentError, ModelError
from xalign.exports import export
from xalign.model.write import Edit
from xalign.steering import Intervention

ONE_UNIT = UnitSet.from_rows([("deu_Latn", "1.hidden", 3, 1.0, 2.0)])
EXPRESSED = {
    "vector": (vector_at("1.hidden", "2.hidden"), {"strength": 0.5}),
    "first block": (vector_at("0.hidden"), {}),
    "final": (vector_at("final.hidden"), {}),
    "projected": (vector_at("1.hidden"), {"operator": "project"}),
    "set one unit": (ONE_UNIT, {"operator": "set", "strength": -1.5}),
    "zero one unit": (ONE_UNIT, {"operator": "zero"}),
    "add to neurons": (units_at("inner"), {"operator": "add"}),
    "add to gates": (units_at("gate"), {"operator": "add"}),
    "sub-layers": (vector_at("0.mlp_out", "1.attn_out"), {}),
}


@torch.no_grad()
def read_by_hand(path, model):
    """Logits with each entry of the file at the output of the module that it names, as in lm-eval 0.4.13.

    `add`: the vector times the coefficient. `clamp`: what lies along the direction becomes the coefficient.
    """
    entries = torch.load(path, weights_only=True)  # no pickled objects are needed
    handles = []

    def hook(entry):
        vector, coefficient = entry["steering_vector"], entry["steering_coefficient"]
        assert entry["bias"] is None and entry["head_index"] is None

        def change(module, args, output):
            states = output[0] if isinstance(output, tuple) else output
            if entry["action"] == "add":
                states = states + vector * coefficient
            else:
                unit = vector / vector.norm()
                states = states + unit * (coefficient - (states * unit).sum(-1, keepdim=True))
            return (states, *output[1:]) if isinstance(output, tuple) else states

        return change

    for name, entry in entries.items():
        handles.append(model.base_model.get_submodule(name).register_forward_hook(hook(entry)))
    logits = model(input_ids=IDS).logits
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("family", "name"),
    [
        *(("llama", name) for name in EXPRESSED),
        *((family, name) for family in ("gpt2", "gemma3_text") for name in ("vector", "add to neurons")),
    ],
)
def test_the_file_does_what_steer_does(family, name, tmp_path):
    what, how = EXPRESSED[name]
    hooked, _ = hooked_and_plain(family, what, **how)
    what.export("lm-eval", tmp_path / "steer.pt", make(family), **how)
    assert_within_rounding(read_by_hand(tmp_path / "steer.pt", make(family)), hooked)


def test_a_fused_gate_is_half_of_a_module(tmp_path):
    what = units_at("gate")
    hooked, _ = hooked_and_plain("phi3", what, operator="add")
    what.export("lm-eval", tmp_path / "steer.pt", make("phi3"), operator="add")
    entries = torch.load(tmp_path / "steer.pt", weights_only=True)
    assert {len(entry["steering_vector"]) for entry in entries.values()} == {2 * FFN}
    assert_within_rounding(read_by_hand(tmp_path / "steer.pt", make("phi3")), hooked)


@pytest.mark.parametrize(
    ("what", "how", "error", "message"),
    [
        (
            units_at("inner"),
            {"operator": "zero"},
            ArgumentError,
            "is what .*down_proj takes, where only a const",
        ),
        (
            units_at("gate"),
            {"operator": "set"},
            ArgumentError,
            "its reader adds a vector, or sets what lies along",
        ),
        (
            units_at("gate"),
            {"operator": "scale", "strength": 2},
            ArgumentError,
            "'scale' at site 0.gate cannot",
        ),
        (vector_at("embed.hidden"), {}, ModelError, "site embed.hidden cannot be changed by weights"),
    ],
)
def test_what_the_reader_cannot_do_is_refused(what, how, error, message, tmp_path):
    with pytest.raises(error, match=message):
        what.export("lm-eval", tmp_path / "steer.pt", make("llama"), **how)
    assert not list(tmp_path.iterdir())


def test_one_change_of_a_module_at_most(tmp_path):
    edits = {
        Site("mlp_out", 1): Edit("add", torch.ones(WIDTH)),
        Site("inner", 1): Edit("add", 1.0, units=[3]),
        Site("linear", name="model.layers.1.mlp.down_proj"): Edit("add", torch.ones(WIDTH)),
    }
    with pytest.raises(
        ArgumentError, match="makes one change of the output of layers.1.mlp.down_proj; export"
    ):
        export(Intervention("x", lambda strength: edits), "lm-eval", tmp_path / "steer.pt", make("llama"))


TASK = """
task: toy
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
ROWS = [
    {"question": "Good morning.", "choices": ["Guten Tag.", "It rains today."], "answer": 0},
    {"question": "It rains", "choices": ["today", "two three four"], "answer": 1},
]


@torch.no_grad()
def log_likelihood(model, tokenizer, context, continuation):
    """Of the continuation after the context; the tokens of both are encoded together, as lm-eval does it."""
    before = tokenizer(context)["input_ids"]
    ids = tokenizer(context + continuation)["input_ids"]
    logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logits[at - 1, ids[at]]) for at in range(len(before), len(ids)))


@pytest.mark.filterwarnings("ignore")  # of lm-eval and what it imports
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_run_of_lm_eval_gives_the_log_likelihoods_of_the_hook(family, tmp_path):
    pytest.importorskip("lm_eval")
    pytest.importorskip("sacrebleu", reason="lm-eval is installed without what its evaluator needs")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    (tmp_path / "rows.json").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "toy.yaml").write_text(TASK.format(rows=tmp_path / "rows.json"), encoding="utf-8")
    model, tokenizer, vector = make(family), make_tokenizer(), vector_at("1.hidden")
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    vector.export("lm-eval", tmp_path / "steer.pt", model, strength=20.0)
    found = simple_evaluate(
        model="steered",
        model_args={
            "pretrained": str(tmp_path / "model"),
            "steer_path": str(tmp_path / "steer.pt"),
            "dtype": "float32",
        },
        tasks=["toy"],
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
        device="cpu",
        batch_size=2,
        log_samples=True,
        bootstrap_iters=0,
    )
    compared = 0
    for sample in found["samples"]["toy"]:
        for (context, continuation), response in zip(sample["arguments"], sample["resps"], strict=True):
            plain = log_likelihood(model, tokenizer, context, continuation)
            with steer(model, vector, strength=20.0):
                hooked = log_likelihood(model, tokenizer, context, continuation)
            assert abs(float(response[0][0]) - hooked) < 1e-4  # a sum over tokens, in float32
            assert abs(plain - hooked) > 1e-2
            compared += 1
    assert compared == 4


def test_the_page_names_the_version_that_was_read():
    page = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    assert re.search(r"lm-eval 0\.4\.13", page)
