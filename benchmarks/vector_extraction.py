"""Time `language_vectors` against plain re-creations of how repeng and steering-vectors find a vector.

    python benchmarks/vector_extraction.py            # about 10 CPU-minutes; reads XALIGN_DATA
    python benchmarks/vector_extraction.py --smoke    # seconds

Both programs run batches of 32 in the order of the pairs, padded to their longest text, through the whole
model with its head. repeng puts both texts of a pair into one batch, asks for every hidden state and takes
each text's last token by itself; its direction is a principal component. steering-vectors runs the two sides
apart, with a hook on each block; its direction is a difference of means. All three find the vector of German
against English at every block, on 100 pairs, with a model of the shape of a 135M one, on one thread. Their
directions must agree.
"""

import numpy as np
import torch
from clock import alternate, machine, parser_of, ratio, write
from models import make_model
from sklearn.decomposition import PCA
from texts import byte_level_tokenizer, longer_sentences, parallel_sentences

from xalign.finding import language_vectors

CPU = torch.device("cpu")
BATCH = 32


def encoded(tokenizer, texts):
    """Return a padded batch, and the place of each text's last token."""
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    return batch, batch["attention_mask"].sum(dim=1) - 1


@torch.no_grad()
def like_repeng(model, tokenizer, positive, negative):
    """Return a direction per block: the first principal component of centred pairs."""
    texts = [text for pair in zip(positive, negative, strict=True) for text in pair]
    layers = range(model.config.num_hidden_layers)
    states = {layer: [] for layer in layers}
    for start in range(0, len(texts), BATCH):
        batch, last = encoded(tokenizer, texts[start : start + BATCH])
        found = model(**batch, output_hidden_states=True).hidden_states
        for row, place in enumerate(last.tolist()):
            for layer in layers:
                states[layer].append(found[layer + 1][row][place].numpy())
    directions = []
    for layer in layers:
        both = np.vstack(states[layer])
        centre = np.repeat((both[::2] + both[1::2]) / 2, 2, axis=0)
        direction = PCA(n_components=1).fit(both - centre).components_[0]
        larger = (both[::2] - both[1::2]) @ direction > 0
        directions.append(direction if larger.mean() >= 0.5 else -direction)  # noqa: PLR2004
    return torch.tensor(np.stack(directions))


@torch.no_grad()
def like_steering_vectors(model, tokenizer, positive, negative):
    """Return a direction per block: the difference of means."""
    layers, means = model.model.layers, []
    for side in (positive, negative):
        states = [[] for _ in layers]
        for start in range(0, len(side), BATCH):
            batch, last = encoded(tokenizer, list(side[start : start + BATCH]))
            seen = {}

            def keep(number, seen=seen):
                return lambda *given: seen.__setitem__(number, given[2])

            handles = [layer.register_forward_hook(keep(k)) for k, layer in enumerate(layers)]
            model(**batch)
            for handle in handles:
                handle.remove()
            for k, kept in enumerate(states):
                state = seen[k] if isinstance(seen[k], torch.Tensor) else seen[k][0]
                kept.append(state[torch.arange(len(last)), last])
        means.append(torch.stack([torch.cat(kept).mean(dim=0) for kept in states]))
    return means[0] - means[1]


def main() -> None:
    """Time the programs in turn, and check that they agree."""
    options = parser_of(__doc__).parse_args()
    torch.set_num_threads(1)
    pairs = longer_sentences(10) if options.smoke else parallel_sentences()
    tokenizer = byte_level_tokenizer(pairs)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    model = make_model("smoke" if options.smoke else "135M", CPU, torch.float32)
    bitext = pairs["deu_Latn"]
    sides = (bitext.sentences, bitext.pivot_sentences)
    texts = {"deu_Latn": list(sides[0]), "eng_Latn": list(sides[1])}
    sites = [f"{block}.hidden" for block in range(model.config.num_hidden_layers)]

    def ours(aggregate):
        found = language_vectors(model, tokenizer, texts, sites, aggregate=aggregate, against="eng_Latn")
        return torch.stack(list(found["deu_Latn"].vectors.values()))

    result = {"machine": machine(CPU), "arms": {}}
    for name, theirs, aggregate in (
        ("repeng", like_repeng, "pca"),
        ("steering-vectors", like_steering_vectors, "mean"),
    ):
        calls = {
            "ours": lambda aggregate=aggregate: ours(aggregate),
            "theirs": lambda theirs=theirs: theirs(model, tokenizer, *sides),
        }
        similar = torch.cosine_similarity(calls["ours"]().float(), calls["theirs"]().float())
        similar = similar[:-1]  # at the last block, repeng reads behind the norm
        if similar.min() < 0.999:  # noqa: PLR2004
            raise SystemExit(f"the directions of {name} and ours differ: {similar.tolist()}")
        taken = alternate(calls, 1 if options.smoke else options.runs, CPU, warm=False)
        found = ratio(taken, "theirs", "ours")
        result["arms"][name] = {
            "seconds": taken,
            "times_as_fast": found,
            "smallest_cosine": similar.min().item(),
        }
        print(f"{name}: ours is {found['median']:.2f} times as fast ({found['min']:.2f}–{found['max']:.2f})")
        write(options.out, result)


if __name__ == "__main__":
    main()
