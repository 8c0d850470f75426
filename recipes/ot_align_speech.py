"""Teach a language model to hear, with a small projection alone, and align what it hears by transport.

    python recipes/ot_align_speech.py --config configs/ot_align_speech_smoke.yaml         # CPU, half a minute
    python recipes/ot_align_speech.py --config configs/ot_align_speech_qwen3_0.6b.yaml    # one GPU

The shape of POTSA's recipe (Li et al. 2025): a frozen speech encoder, a frozen language model, and between
them a projection, which learns to translate speech into English text. Meanwhile transport pulls the states of
a spoken sentence towards those of its spoken translation, after each language's mean is subtracted.
`speech` is a folder with LANGUAGE/ID.wav, `texts` a file with an id, a tab and an English sentence per line.
`speech: babel` lets espeak-ng read sentences of Babel. Where it is not installed, tones stand in, a tone per
word; the script says so. Writes projection.safetensors and ot_align_speech.json into the output folder.
"""

import argparse
import io
import json
import random
import shutil
import subprocess
import wave
import zlib
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_model
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForCausalLM, AutoTokenizer, WhisperModel

from xalign import Audio, ParallelPairs, load_pairs
from xalign.babel import write_pairs
from xalign.losses.subtract_means import subtract_means
from xalign.losses.transport import transport
from xalign.metrics.weak_alignment import weak_alignment

VOICES = {"eng_Latn": "en-us", "deu_Latn": "de", "spa_Latn": "es", "rus_Cyrl": "ru"}


def speak(sentence, language):
    """Return a sentence as espeak-ng says it; without espeak-ng, a tone per word."""
    if shutil.which("espeak-ng") is None:
        tones = [200 + zlib.crc32(f"{word} {language}".encode()) % 800 for word in sentence.split()]
        times = np.arange(3200) / 16_000
        return Audio(np.concatenate([0.3 * np.sin(2 * np.pi * tone * times) for tone in tones]), 16_000)
    command = ["espeak-ng", "-v", VOICES[language], "-s", "250", "--stdout", "--", sentence]
    sound = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(sound)) as file:
        # Written to a pipe, the header cannot know how many frames follow: read what is there.
        return Audio(np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate())


def load_speech(config):
    """Return parallel recordings to learn from and to test on, and the English text of each id."""
    n, tested, languages = config["n"], config["tested"], config["languages"]
    if config["speech"] == "babel":
        if shutil.which("espeak-ng") is None:
            print("espeak-ng is not installed: tones stand in for speech, and the scores mean nothing")
        text = write_pairs(n + tested, config["seed"], languages=languages)
        ids = next(iter(text.values())).ids
        spoken = {code: [speak(one, code) for one in lines] for code, lines in text.texts.items()}
        pairs = ParallelPairs(spoken, ids=ids)
        texts = dict(zip(ids, text.texts["eng_Latn"], strict=True))
    else:
        pairs = load_pairs(config["speech"], languages, n=n + tested)
        lines = Path(config["texts"]).read_text(encoding="utf-8").splitlines()
        texts = dict(line.split("\t", 1) for line in lines)
    return pairs.first(n), pairs.rows(range(n, n + tested)), texts


class Projection(nn.Module):
    """Joins frames of a speech encoder, and makes of them what a language model reads in place of tokens."""

    def __init__(self, width_in, width_out, joined, width, blocks, heads):
        super().__init__()
        self.joined, self.into = joined, nn.Linear(joined * width_in, width)
        sizes = {"dim_feedforward": 4 * width, "dropout": 0.0, "batch_first": True, "norm_first": True}
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(width, heads, **sizes) for _ in range(blocks))
        self.out = nn.Linear(width, width_out)

    def forward(self, frames, mask):
        """Return the output, which of its vectors count, and the states after each block."""
        more = -frames.shape[1] % self.joined
        frames, mask = nn.functional.pad(frames, (0, 0, 0, more)), nn.functional.pad(mask, (0, more))
        frames, mask = (one.unflatten(1, (-1, self.joined)) for one in (frames, mask))
        states, mask = [self.into(frames.flatten(2))], mask.any(2)
        for block in self.blocks:
            states.append(block(states[-1], src_key_padding_mask=~mask))
        return self.out(states[-1]), mask, states[1:]


class SpeechModel(nn.Module):
    """A frozen speech encoder, a projection, and a frozen language model."""

    def __init__(self, encoder, extractor, language_model, tokenizer, projection):
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(requires_grad=False)
        self.language_model = language_model.eval().requires_grad_(requires_grad=False)
        self.extractor, self.tokenizer = extractor, tokenizer
        self.projection = Projection(encoder.config.d_model, language_model.config.hidden_size, **projection)

    def hear(self, recordings):
        """Return the projection of recordings, which vectors count, and the states after its blocks."""
        device, rate = self.language_model.device, self.extractor.sampling_rate
        if max(one.seconds for one in recordings) > self.extractor.chunk_length:
            raise SystemExit(f"a recording is longer than {self.extractor.chunk_length} s: leave it out")
        sounds = [one.at(rate) for one in recordings]
        made = self.extractor(sounds, sampling_rate=rate, return_attention_mask=True, return_tensors="pt")
        mask = made["attention_mask"][:, ::2].bool()  # a state of Whisper's encoder stands for two frames
        mask = mask[:, : int(mask.sum(1).max())].to(device)
        with torch.no_grad():
            frames = self.encoder(made["input_features"].to(device, self.encoder.dtype)).last_hidden_state
        return self.projection(frames[:, : mask.shape[1]].float() * mask.unsqueeze(2), mask)

    def translation_loss(self, heard, mask, texts):
        """Return the loss of the texts behind what was heard."""
        order = mask.long().argsort(dim=1, stable=True)  # padding first: each text follows its own sound
        heard, mask = heard.take_along_dim(order.unsqueeze(2), 1), mask.take_along_dim(order, 1)
        ended = [f"{text}{self.tokenizer.eos_token}" for text in texts]
        batch = self.tokenizer(ended, padding=True, padding_side="right", return_tensors="pt").to(mask.device)
        ids, counted = batch["input_ids"], batch["attention_mask"].bool()
        embedded = self.language_model.get_input_embeddings()(ids)
        both, gap = torch.cat([mask, counted], dim=1), ids.new_full(mask.shape, -100)
        return self.language_model(
            inputs_embeds=torch.cat([heard.to(embedded.dtype), embedded], dim=1),
            attention_mask=both.long(),
            position_ids=(both.cumsum(1) - 1).clamp(min=0),
            labels=torch.cat([gap, ids.masked_fill(~counted, -100)], dim=1),
        ).loss


def make_model(config, encoder=None, extractor=None, language_model=None, tokenizer=None):
    """Load the parts that are not given, and put a new projection between them."""
    name, speech, dtype = config["model_name_or_path"], config["speech_encoder"], config["dtype"]
    torch.manual_seed(config["seed"])
    if encoder is None and config["random_encoder"]:
        encoder = WhisperModel(AutoConfig.from_pretrained(speech)).get_encoder()
    encoder = encoder or WhisperModel.from_pretrained(speech, dtype=dtype).get_encoder()
    extractor = extractor or AutoFeatureExtractor.from_pretrained(speech)
    language_model = language_model or AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    tokenizer = tokenizer or AutoTokenizer.from_pretrained(name)
    return SpeechModel(encoder, extractor, language_model, tokenizer, config["projection"])


def losses(model, batches, texts, config):
    """Return the loss of the task, the transport, and the pooled states of both sides."""
    spoken = [one for part in batches for one in part.sentences]
    spoken += [one for part in batches for one in part.pivot_sentences]
    written = [texts[name] for part in batches for name in part.ids]
    languages = torch.tensor([number for number, part in enumerate(batches) for _ in part.ids])
    heard, mask, states = model.hear(spoken)
    n, weights, total = len(written), config["block_weights"], 0.0
    masks = {"language_mask": mask[:n], "pivot_mask": mask[n:]}
    for weight, values in zip(weights, states, strict=True):  # the schedule: later blocks weigh more
        centred = subtract_means(values[:n], values[n:], languages=languages.to(mask.device), **masks)
        total = total + weight / sum(weights) * transport(*centred, **masks, **config["transport"])
    pooled = (states[-1] * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
    return model.translation_loss(heard, mask, written * 2), total, pooled


@torch.no_grad()
def test(model, tested, texts, config):
    """Return per language the loss of its translation, the transport, and the weak alignment."""
    found = {}
    for code, bitext in tested.items():
        task, moved, pooled = losses(model, [bitext], texts, config)
        own, pivot = nn.functional.normalize(pooled.double(), dim=1).chunk(2)
        aligned = weak_alignment(pivot @ own.T).double().mean()
        found[code] = {"loss": task.item(), "transport": moved.item(), "weak alignment": aligned.item()}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, help="replaces the file's")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    out = arguments.output_dir or Path(config["output_dir"])
    out.mkdir(parents=True, exist_ok=True)
    learnt, tested, texts = load_speech(config)
    model = make_model(config).to("cuda" if torch.cuda.is_available() else "cpu")
    before = test(model, tested, texts, config)
    optimizer = torch.optim.AdamW(model.projection.parameters(), lr=float(config["learning_rate"]))
    draw = random.Random(config["seed"])
    for step in range(config["steps"]):
        batches = [one.rows(draw.sample(range(len(one)), config["per_language"])) for one in learnt.values()]
        task, moved, _ = losses(model, batches, texts, config)
        (task + config["weight"] * moved).backward()
        nn.utils.clip_grad_norm_(model.projection.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % max(1, config["steps"] // 10) == 0:
            print(f"step {step}: loss of the task {task.item():.3f}, transport {moved.item():.3f}")
    after = test(model, tested, texts, config)
    save_model(model.projection, str(out / "projection.safetensors"))
    (out / "ot_align_speech.json").write_text(json.dumps({"before": before, "after": after}), "utf-8")
    for code, values in after.items():
        changes = [f"{what} {before[code][what]:.3f} → {value:.3f}" for what, value in values.items()]
        print(f"{code}: {', '.join(changes)}")
