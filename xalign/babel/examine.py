"""`examine`: measure a Babel model's alignment, losses and transfer, for model cards and benchmarks."""

from dataclasses import asdict
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from xalign.babel.lexicon import LANGUAGES
from xalign.babel.splits import take_meanings
from xalign.babel.tokenizer import SEPARATOR
from xalign.babel.transfer import transfer_task
from xalign.babel.write import write_pairs
from xalign.measurement import MeasureOptions, measure
from xalign.model.batches import pad_documents

WITH_SEPARATOR = MeasureOptions(template=f"{{text}} {SEPARATOR}", template_pooled=True)
"""Measures sentences as they occur in training: with the separator after them, which is pooled too."""


def examine(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, *, pairs: int = 100, seeds: int = 3
) -> dict[str, Any]:
    """Measure the alignment, losses and transfer of a Babel model on meanings it has not seen.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        pairs: Number of held-out sentences for alignment. Losses use four times as many.
        seeds: Number of fine-tuning runs of the transfer task; 0 skips it.

    Returns:
        A dict. These keys hold a number per language: `nasca` (with the separator), `nasca_plain` (without
        it), `floor` (the lexical floor of `nasca`), and in nats per token `sentence_loss` and
        `translation_loss` (from English). `transfer` holds one `Transfer` per seed, as a dict.
    """
    held_out = write_pairs(pairs, 0, "held_out")
    with_separator = measure(model, tokenizer, held_out, metrics=["nasca"], **WITH_SEPARATOR)
    plain = measure(model, tokenizer, held_out, metrics=["nasca"])
    unseen = take_meanings(4 * pairs, 1, "held_out")
    texts = {code: [meaning.sentence(code) for meaning in unseen] for code in LANGUAGES.values()}
    return {
        "nasca": {code: with_separator.score("nasca", code) for code in held_out},
        "nasca_plain": {code: plain.score("nasca", code) for code in held_out},
        "floor": {code: with_separator.floor("nasca", code) for code in held_out},
        "sentence_loss": {
            code: token_loss(model, tokenizer, [("", text) for text in sentences])
            for code, sentences in texts.items()
        },
        "translation_loss": {
            code: token_loss(model, tokenizer, list(zip(texts["eng_Latn"], texts[code], strict=True)))
            for code in held_out
        },
        "transfer": [asdict(transfer_task(model, tokenizer, seed=seed)) for seed in range(seeds)],
    }


@torch.no_grad()
def token_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, documents: list[tuple[str, str]]
) -> float:
    """Compute the mean loss of sentences in nats per token, each given what precedes it in its document.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        documents: Pairs of (sentence before the separator, or "" for none; sentence whose loss is computed).
    """
    total, count = 0.0, 0
    for start in range(0, len(documents), 50):
        batch, contexts = [], []
        for before, sentence in documents[start : start + 50]:
            context = tokenizer(f"{before} {SEPARATOR}" if before else "")["input_ids"]
            contexts.append(len(context))
            batch.append(context + tokenizer(sentence, add_special_tokens=False)["input_ids"])
        inputs = pad_documents(batch)
        for labels, context in zip(inputs["labels"], contexts, strict=True):
            labels[:context] = -100
        counted = int((inputs["labels"] != -100).sum())
        total += model(**inputs).loss.item() * counted
        count += counted
    return total / count
