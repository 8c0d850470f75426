"""Training on a CUDA device: watched without a trace, aligned as on the CPU, and under a closed loop."""

import pytest
import torch
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed

from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentCallback, AlignmentMonitor, AlignmentObjective, ParallelPairs, load_pairs
from xalign.training.closed_loop import ClosedLoop

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

ALL = load_pairs("bundled", ["deu", "rus", "spa"])


def part(first, last):
    return ParallelPairs.from_bitexts([bitext.rows(range(first, last)) for bitext in ALL.values()])


TRAINED, CONTROL, WATCHED = part(0, 60), part(60, 80), part(80, 120)
SENTENCES = ALL["deu_Latn"].sentences[120:184]


def run_trainer(device, folder, watch=None):
    """The losses and last weights of a short run with dropout."""
    set_seed(0)
    # Attention written out: the fused backward of CUDA adds up in any order.
    model = make_model("llama", attention_dropout=0.2, attn_implementation="eager")
    tokenizer = make_tokenizer()
    data = [{"input_ids": tokenizer(sentence)["input_ids"]} for sentence in SENTENCES]
    arguments = TrainingArguments(
        str(folder),
        max_steps=6,
        per_device_train_batch_size=4,
        learning_rate=3e-3,
        logging_steps=1,
        report_to="none",
        use_cpu=device.type == "cpu",
        disable_tqdm=True,
        seed=3,
        save_strategy="no",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        processing_class=tokenizer,
    )
    if watch is not None:
        watch(trainer)
    trainer.train()
    assert next(model.parameters()).device.type == device.type
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return losses, {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_a_watched_trainer_is_equal_to_the_bit(device, repeatable, tmp_path):
    """Reports are made at every second step, in between of which dropout draws random numbers."""
    kept = []

    def watch(trainer):
        kept.append(AlignmentCallback(trainer, WATCHED, every=2, metrics=["nasca", "mexa"]))
        trainer.add_callback(kept[0])

    plain, again = (run_trainer(device, tmp_path / str(n)) for n in range(2))
    assert plain[0] == again[0]  # not vacuous: a run repeats itself
    assert len(set(plain[0])) == 6
    watched = run_trainer(device, tmp_path / "watched", watch)
    assert [report.step for report in kept[0].reports] == [0, 2, 4, 6]  # not vacuous: it measured
    assert watched[0] == plain[0]
    assert all(torch.equal(tensor, plain[1][name]) for name, tensor in watched[1].items())


def losses_of_loop(device, watched, dtype):
    """The losses of a plain loop under autocast, with and without a monitor."""
    set_seed(0)
    model = make_model("llama", attention_dropout=0.2, attn_implementation="eager").to(device).train()
    tokenizer = make_tokenizer()
    monitor = AlignmentMonitor(model, tokenizer, WATCHED, ["nasca", "mexa"]) if watched else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(5):
        ids = tokenizer(SENTENCES[step * 4 : step * 4 + 4], padding=True, return_tensors="pt").to(device)
        with torch.autocast(device.type, dtype):
            loss = model(**ids, labels=ids["input_ids"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if monitor is not None:
            assert monitor.step(step) is not None
    return losses


def test_a_watched_loop_is_equal_to_the_bit(device, repeatable):
    plain = losses_of_loop(device, False, torch.bfloat16)
    assert len(set(plain)) == 5
    assert losses_of_loop(device, True, torch.bfloat16) == plain


def gradient_of(device, **options):
    """The loss of the first step and the gradient of all parameters."""
    model = make_model("llama").to(device)
    objective = AlignmentObjective(model, make_tokenizer(), TRAINED, batch_size=12, **options)
    loss = objective(0)
    loss.backward()
    gradients = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
    return loss.item(), torch.cat(gradients)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "contrastive", "layer": 1},
        {"loss": "contrastive", "layer": 1, "chunk_size": 4},
        {"loss": "neuron_state", "layer": "all"},
        {"loss": "cosine", "layer": 0.5},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_the_gradient_is_that_of_the_cpu(options, device):
    loss, gradient = gradient_of(device, **options)
    expected_loss, expected = gradient_of("cpu", **options)
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    assert gradient.shape == expected.shape
    assert expected.norm() > 0
    assert (gradient - expected).norm() / expected.norm() < 1e-3


def test_alignment_in_bfloat16_is_finite(device):
    model = make_model("llama").to(device, torch.bfloat16)
    objective = AlignmentObjective(
        model, make_tokenizer(), TRAINED, batch_size=12, loss="contrastive", layer=1
    )
    objective(0).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_a_closed_loop_decides_as_on_the_cpu(device):
    """One measurement, one decision, one step by it."""

    def run(where):
        model = make_model("llama").to(where)
        objective = AlignmentObjective(
            model,
            make_tokenizer(),
            TRAINED,
            batch_size=12,
            languages_per_batch=3,
            loss="contrastive",
            layer=1,
        )
        loop = ClosedLoop(objective, CONTROL, max_steps=4, every=2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for step in range(3):
            loop.step(step, learning_rate=1.0)
            loss = objective(step)
            loop.count(objective.last)
            if loss.requires_grad:
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        return loop

    found, expected = run(device), run("cpu")
    assert [one.step for one in found.decisions] == [one.step for one in expected.decisions] == [0, 2]
    for one, other in zip(found.decisions, expected.decisions, strict=True):
        assert one.duty == pytest.approx(other.duty, abs=0.05)
        assert one.weight == pytest.approx(other.weight, rel=0.05)
