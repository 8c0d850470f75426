"""Read in which language Babel's two models would go on, block by block.

    python benchmarks/latent_language.py          # under a CPU-minute

The prompts are 100 unseen sentences of each language. In *translation* the separator stands behind them: the
aligned model may go on in any other language; the unaligned one learnt to go on in English, and from English
in any. In *cloze* a sentence is cut before its last word. Tokens are sorted by 400 other sentences of each
language. Prints Markdown: the probability of tokens of the language asked in, of English, and of the rest, by
block, with the entropy.
"""

import torch

from xalign.babel.models import load_babel
from xalign.babel.write import write_pairs
from xalign.probing import latent_language, token_sets

torch.set_num_threads(1)
texts = write_pairs(400, seed=1).texts
asked = write_pairs(100, seed=0, split="held_out").texts


def cut(text, code):
    """Leave out the end of a sentence: its last word, or the last three signs in Chinese."""
    return text[:-4] if code == "zho_Hans" else text[:-1].rpartition(" ")[0]


for name in ("aligned", "unaligned"):
    model, tokenizer = load_babel(name)
    sets = token_sets(tokenizer, texts)
    for task in ("translation", "cloze"):
        print(f"\n**{name}, {task}**\n\n| asked in | tokens of | embed, blocks 0–5 |\n|---|---|---|")
        for code, own in asked.items():
            prompts = [f"{text} <sep>" if task == "translation" else cut(text, code) for text in own]
            found = latent_language(model, tokenizer, prompts, sets)
            own_curve, english = (list(found.curve(one).values()) for one in (code, "eng_Latn"))
            shown = {"its own language": own_curve}
            if code != "eng_Latn":
                shown["English"] = english
            others = [one for one in sets.languages if one not in (code, "eng_Latn")]
            curves = [list(found.curve(one).values()) for one in others]
            shown["the other languages"] = [sum(values) for values in zip(*curves, strict=True)]
            shown["(entropy, bits)"] = list(found.curve(code, "entropy").values())
            for what, values in shown.items():
                print(f"| {code} | {what} | {' '.join(f'{value:.2f}' for value in values)} |")
