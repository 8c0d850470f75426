"""What reads hidden states runs on any model whose blocks are found; what cannot be known is refused."""

import warnings

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from tests.tiny import SIZES, make_model, make_tokenizer
from tests.training.runs import gradients_of, training_pairs
from xalign import (
    AlignmentCallback,
    AlignmentObjective,
    Layout,
    Site,
    find_units,
    load_pairs,
    map_model,
    measure,
    visit,
)
from xalign.errors import ModelError
from xalign.model.write import Edit, write

PAIRS = load_pairs("bundled", ["deu_Latn"]).first(16)
HIDDEN = ["mexa", "retrieval", "margin"]
# Mixtures of experts, which have no neurons outside their experts, and architectures that no layout names.
MIXTURES = {
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {"num_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8},
    "granitemoe": {"num_local_experts": 4},
    "phimoe": {"num_local_experts": 4},
    "glm4_moe": {},
}
DENSE = {
    **dict.fromkeys(
        ["cohere", "granite", "starcoder2", "phi", "stablelm", "gemma", "smollm3", "olmo", "xglm"], {}
    ),
    **dict.fromkeys(["nemotron", "persimmon", "biogpt", "camembert", "lfm2"], {}),
    "distilbert": {},
    "convbert": {},
    "nomic_bert": {},
}
ALL = MIXTURES | DENSE
# Mixtures with networks that all tokens pass through.
SHARING = {"qwen2_moe", "glm4_moe"}
T5 = {"d_model": 32, "d_ff": 64, "num_layers": 3, "num_heads": 4, "d_kv": 8, "vocab_size": 500}


def make(family, **changes):
    sizes = SIZES | {"num_key_value_heads": 2} | ALL[family] | changes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = AutoConfig.for_model(family, **sizes)
        torch.manual_seed(0)
        try:
            model = AutoModelForCausalLM.from_config(config)
        except ValueError:  # an encoder
            model = AutoModel.from_config(config)
    return model.eval()


def batch_of(n=2, tokens=7):
    ids = torch.randint(3, SIZES["vocab_size"], (n, tokens), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def seen_at(model, called, sites):
    seen = {}
    with visit(
        model, {site: lambda values, site=site: seen.__setitem__(site, values.clone()) for site in sites}
    ):
        called(**batch_of())
    return seen


@torch.no_grad()
@pytest.mark.parametrize("family", ALL)
def test_hidden_states_are_those_that_transformers_returns(family):
    """Such a model was refused as unknown, though metrics of hidden states need no feed-forward network."""
    model = make(family)
    model_map = map_model(model)
    assert bool(model_map.refused("inner")) == (family in MIXTURES and family not in SHARING)
    expected = model(**batch_of(), output_hidden_states=True).hidden_states
    sites = [site for site in model_map.sites("hidden") if site != Site("hidden", model_map.n_layers - 1)]
    found = seen_at(model, model, sites)
    assert len(expected) == len(sites) == 4
    assert len({states.double().sum().item() for states in expected}) == 4  # they differ
    for states, site in zip(expected, sites, strict=True):
        assert torch.equal(found[site], states), site
        assert states.shape[-1] == model_map.place(site).width
    inner = getattr(model, model.base_model_prefix, model)  # also where the model itself holds the blocks
    again = seen_at(inner, inner, sites)
    assert all(torch.equal(again[site], found[site]) for site in sites)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "gpt_oss", "cohere", "distilbert"])
def test_metrics_of_hidden_states_are_measured(family):
    """`metrics=["mexa"]` ended in 'is not an architecture xalign knows' on every mixture of experts."""
    model, tokenizer = make(family), make_tokenizer()
    report = measure(model, tokenizer, PAIRS, HIDDEN)
    assert 0 <= report.score("mexa", "deu_Latn") <= 1
    assert [str(site) for site in report.metrics["mexa"].sites] == [
        "embed.hidden", "0.hidden", "1.hidden", "final.hidden",
    ]  # fmt: skip
    says_why = "no inner, gate: its feed-forward network is a mixture of experts" in str(map_model(model))
    assert says_why == (family in MIXTURES)


@pytest.mark.parametrize("family", ["mixtral", "olmoe"])
def test_what_reads_neurons_says_what_works_instead(family):
    """The advice was to register a layout with a gate, which a mixture of experts does not have."""
    model, tokenizer = make(family), make_tokenizer()
    message = r"mixture of experts.*metrics=\['mexa', 'retrieval'\], loss='contrastive', sites='hidden'"
    assert measure(model, tokenizer, PAIRS).score() >= 0  # of the neurons of its experts
    with pytest.raises(ModelError, match=message):
        AlignmentObjective(model, tokenizer, training_pairs(), batch_size=8)
    assert find_units(model, tokenizer, PAIRS.texts)["deu_Latn"]  # in its experts
    with pytest.raises(ModelError, match=message):
        map_model(model).place(Site("inner", 0))
    # and each piece of advice is followed:
    assert measure(model, tokenizer, PAIRS, ["mexa", "retrieval"]).score("mexa") >= 0
    objective = AlignmentObjective(model, tokenizer, training_pairs(), batch_size=8, loss="contrastive")
    objective(0).backward()
    assert sum(gradient.abs().sum() for gradient in gradients_of(model).values()) > 0
    assert find_units(model, tokenizer, PAIRS.texts, sites="hidden", share=0.1)["deu_Latn"]


def test_a_callback_of_hidden_states_watches_a_mixture():
    """The callback was refused when it was built, whatever its metrics."""
    from tests.monitor.training import make_trainer

    trainer = make_trainer(model=make("mixtral"))
    callback = AlignmentCallback(trainer, PAIRS, metrics=["mexa"])
    trainer.add_callback(callback)
    trainer.train()
    assert [report.step for report in callback.reports][:1] == [0]


def test_the_final_state_is_written_too():
    """The final state of such a model is what it returns, which is no tensor and no tuple."""
    model = make("mixtral")
    with torch.no_grad(), write(model, {Site("hidden", "final"): Edit("zero")}):
        output = model(**batch_of())
    assert not output.logits.any()
    assert model(**batch_of()).logits.any()


def test_units_of_hidden_states_fit_models_of_the_same_shape():
    """The shape of such a model has no number of neurons."""
    units = find_units(make("mixtral"), make_tokenizer(), PAIRS.texts, sites="hidden", share=0.1)
    assert units.provenance["shape"]["ffn_width"] is None


def bare(model_type, **sizes):
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(model_type, **sizes)).eval()


class Stacks(nn.Module):
    """Two encoders beside each other, as of text and pictures."""

    def __init__(self):
        super().__init__()
        self.one, self.other = make("distilbert"), make("convbert")
        self.config = self.one.config


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Stacks, r"several stacks of blocks \(one, other\); pass one of them alone"),
        (lambda: nn.Linear(2, 2), "Linear .no model_type. is not an architecture"),
    ],
)
def test_what_is_not_known_is_refused(build, message):
    """No stack is guessed by a module's name or by the length of a list."""
    with pytest.raises(ModelError, match=message):
        map_model(build())


def test_the_encoder_of_an_encoder_decoder_is_measured():
    """It is that of the whole model, and may be passed alone."""
    model = bare("t5", **T5)
    expected = model.encoder(**batch_of(), output_hidden_states=True).hidden_states
    found = seen_at(model.encoder, model.encoder, [Site("hidden", 0), Site("hidden", "final")])
    assert torch.equal(found[Site("hidden", 0)], expected[1])
    assert torch.equal(found[Site("hidden", "final")], expected[3])
    whole, alone = (measure(one, make_tokenizer(), PAIRS, ["mexa"]) for one in (model, model.encoder))
    assert torch.equal(whole.metrics["mexa"].values["deu_Latn"], alone.metrics["mexa"].values["deu_Latn"])


def test_blocks_alone_can_be_registered(registered):
    """The way out for a model that declares nothing needs no feed-forward network either."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gptj", **SIZES, rotary_dim=4)).eval()
    registered("gptj", Layout(blocks="h", final=("ln_f",)))
    expected = model(**batch_of(), output_hidden_states=True).hidden_states
    found = seen_at(model, model, map_model(model).sites("hidden"))
    for layer, states in zip(("embed", 0, 1, "final"), expected, strict=True):
        assert torch.equal(found[Site("hidden", layer)], states)


def test_known_architectures_keep_all_their_sites():
    """A layout with every part is taken before what transformers declares."""
    assert map_model(make_model("llama")).ffn_width == 80


SEEING = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.filterwarnings("ignore")
def test_what_the_docs_say_of_multimodal_models_is_true():
    """They were said to be refused; some ran, and the advice for others did not work."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        MixtralConfig,
    )

    sizes = SIZES | {"num_key_value_heads": 2}
    seeing = CLIPVisionConfig(**SEEING, image_size=8, patch_size=4)
    for text, metrics in (
        (LlamaConfig(**sizes), ["nasca", "mexa"]),
        (MixtralConfig(**sizes, num_local_experts=4), ["mexa"]),
    ):
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(LlavaConfig(vision_config=seeing, text_config=text)).eval()
        assert measure(model, make_tokenizer(), PAIRS, metrics).score(metrics[0]) >= 0
        assert map_model(model).place(Site("hidden", 0)).path == "model.language_model.layers.0"
