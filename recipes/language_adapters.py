"""Align each language with English by an adapter of its own, on a model that stays as it is.

    recipe=recipes/language_adapters.py
    python $recipe --config configs/language_adapters_smoke.yaml           # CPU, half a minute
    python $recipe --config configs/language_adapters_qwen3_0.6b.yaml      # one GPU
    python $recipe --config … --languages swh_Latn                         # one more language

Needs `pip install -e '.[train]'` in the checkout. Parallel data: anything that `load_pairs` reads.
The output folder gets a folder per language with an ordinary adapter of PEFT. Where it has adapters already,
they are loaded, the languages that have none are added, and the script checks that no other has changed.
The method follows Huang et al. (2024), Modular Sentence Encoders, with LoRA in place of their adapters.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from rich.console import Console
from transformers import AutoTokenizer, get_scheduler, set_seed
from trl import ModelConfig, TrlParser, get_peft_config

from xalign import AlignmentArguments, AlignmentObjective, load_pairs, measure
from xalign.training.adapters import LanguageAdapters


@dataclass
class Data:
    """The languages, how their adapters are trained, and what is measured."""

    languages: list[str] = field(metadata={"help": "The languages that get an adapter."})
    output_dir: str = field(metadata={"help": "The folder of the adapters."})
    model_class: str = field(
        default="AutoModelForCausalLM",
        metadata={"help": "The class of transformers; 'AutoModel' for a sentence encoder."},
    )
    steps: int = field(default=1000, metadata={"help": "Steps of each adapter."})
    learning_rate: float = field(default=1e-4, metadata={"help": "The peak learning rate."})
    bf16: bool = field(default=False, metadata={"help": "Compute in bfloat16, as on a GPU."})
    seed: int = field(default=0, metadata={"help": "Decides the start of the adapters."})
    measure_pairs: str = field(
        default="bundled",
        metadata={"help": "Held-out pairs to measure on. They must not be in the training data."},
    )
    measure_n: int | None = field(default=100, metadata={"help": "Measure on the first n of them."})
    metrics: list[str] = field(
        default_factory=lambda: ["nasca", "mexa", "retrieval"], metadata={"help": "What is measured."}
    )


def make_adapters(data, model_arguments, model=None):
    """Load the model and the adapters that there are; return them, and the languages that need a new one."""
    if model is None:
        name, dtype = model_arguments.model_name_or_path, model_arguments.dtype or "auto"
        model = getattr(transformers, data.model_class).from_pretrained(name, dtype=dtype)
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    config = get_peft_config(model_arguments)
    if config is None:
        raise SystemExit("use_peft must be true: the adapters are what is trained")
    if not list(Path(data.output_dir).glob("*/adapter_config.json")):
        return LanguageAdapters(model, config, languages=data.languages), data.languages
    adapters = LanguageAdapters.from_pretrained(model, data.output_dir)
    new = [code for code in data.languages if code not in adapters.languages]
    for code in new:
        adapters.add(code, config)
    return adapters, new


def align(adapters, code, tokenizer, alignment, measured, data):
    """Train the adapter of one language. English runs with the adapters off, and stays where it is."""
    alignment.align_languages = [code]
    objective = AlignmentObjective(adapters.model, tokenizer, held_out=measured, config=alignment.config())
    trainable = [one for one in adapters.model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=data.learning_rate)
    schedule = get_scheduler("linear", optimizer, max(1, data.steps // 20), data.steps)
    adapters.model.train()
    for step in range(data.steps):
        with torch.autocast(adapters.model.device.type, torch.bfloat16, enabled=data.bf16):
            loss = objective(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % max(1, data.steps // 5) == 0:
            accuracy = objective.last.in_batch.accuracy.mean()
            print(f"{code}, step {step}: loss {loss.item():.3f}, in-batch accuracy {accuracy:.2f}")


def digests(folder):
    """Return what tells the weights of each saved adapter apart."""
    files = sorted(Path(folder).glob("*/adapter_model.safetensors"))
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    parser = TrlParser((Data, ModelConfig, AlignmentArguments))
    data, model_arguments, alignment = parser.parse_args_and_config()
    set_seed(data.seed)
    out = Path(data.output_dir)
    saved = digests(out)
    tokenizer = AutoTokenizer.from_pretrained(model_arguments.model_name_or_path)
    adapters, new = make_adapters(data, model_arguments)
    measured = load_pairs(data.measure_pairs, adapters.languages, n=data.measure_n)

    with adapters.use(adapters.pivot):  # the model without any adapter
        before = measure(adapters.model, tokenizer, measured, data.metrics)
    for code in new:
        with adapters.use(code):
            align(adapters, code, tokenizer, alignment, measured, data)
    after = measure(adapters.model, tokenizer, measured, data.metrics, steered=adapters.use)

    adapters.save_pretrained(out)
    changed = [code for code, digest in digests(out).items() if saved.get(code, digest) != digest]
    if changed:
        raise SystemExit(f"the adapters of {', '.join(changed)} were there before, and have changed")
    gains = [row for row in after.compare(before) if row["layer"] == "mean"]
    (out / "gains.json").write_text(json.dumps(gains, indent=1), encoding="utf-8")
    after.save(out / "report", overwrite=True)
    console = Console(width=110)
    console.print(f"new: {', '.join(new) or 'none'}; unchanged: {', '.join(saved) or 'none'}")
    for row in gains:
        bounds = "" if row["low"] is None else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
        metric, code = row["metric"], row["language"]
        was, now = before.score(metric, code), after.score(metric, code)
        console.print(
            f"{code} {metric}: {was:.3f} → {now:.3f}, {row['difference']:+.3f}{bounds}", highlight=False
        )
