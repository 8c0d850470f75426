"""Methods as objects: what they say of themselves, and one's own as a function and as a `Method`."""

from functools import partial

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import UnitSet, find_units, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding import METHODS, Method
from xalign.finding.activations import activations
from xalign.finding.expert_ap import expert_ap
from xalign.judging.evaluate import evaluate
from xalign.steering.steer import steer

BUNDLED = load_pairs("bundled", languages=["deu_Latn", "rus_Cyrl"])
TEXTS = {code: lines[:10] for code, lines in BUNDLED.texts.items()}
UNSEEN = {code: lines[10:16] for code, lines in BUNDLED.texts.items()}


def largest_mean(model, tokenizer, texts, sites="1.inner", *, count=3, **options):
    """The units of a site with the largest mean for a language."""
    (of_site,) = activations(model, tokenizer, texts, sites, **options)
    rows = []
    for number, label in enumerate(texts):
        means = of_site.values[of_site.of(number)].mean(dim=0)
        rows += [(label, of_site.site, at, means[at].item(), means[at].item()) for at in means.topk(count)[1]]
    return UnitSet.from_rows([(label, site, int(at), *numbers) for label, site, at, *numbers in rows])


MAXIMA = Method("largest_max", partial(largest_mean, pool="max"), "units with large maxima", sets=("pool",))


def find(**options):
    return find_units(make_model("llama"), make_tokenizer(), TEXTS, **options)


@pytest.mark.parametrize(("method", "pool"), [(largest_mean, "mean"), (MAXIMA, "max")])
def test_a_function_and_a_method(method, pool):
    units = find(method=method, count=2)
    assert [len(units[label]) for label in units.labels] == [2, 2, 2]
    (expected,) = activations(make_model("llama"), make_tokenizer(), TEXTS, "1.inner", pool=pool)
    for number, label in enumerate(TEXTS):
        means = expected.values[expected.of(number)].mean(dim=0)
        assert [row.index for row in units[label]] == means.topk(2)[1].tolist()


@pytest.mark.parametrize("method", [largest_mean, MAXIMA], ids=["function", "Method"])
def test_its_units_steer_and_are_judged(method):
    model, tokenizer, batch = make_model("llama"), make_tokenizer(), torch.tensor([[1, 20, 30]])
    german = find(method=method)["deu_Latn"]
    plain = model(input_ids=batch).logits
    with steer(model, german, strength=9.0):
        assert not torch.equal(model(input_ids=batch).logits, plain)
    result = evaluate(
        model,
        tokenizer,
        partial(find_units, method=method, count=4),
        UNSEEN,
        finding=TEXTS,
        seeds=2,
        how={"operator": "set", "strength": 9.0},
        random_sets=1,
    )
    row = result.effect("deu_Latn", "loss")
    assert row["n"] == 2
    assert row["difference"] != 0
    assert {"random", "shuffled"} <= row.keys()


def test_what_a_method_says_of_itself():
    assert {"expert_ap", "lape"} <= set(METHODS)
    assert all(name == method.name and method.summary for name, method in METHODS.items())
    assert {"sites", "share", "k", "ends", "pool", "state", "site_bytes"} <= set(METHODS["expert_ap"].options)
    assert {"share", "bar", "penalty", "site_bytes"} <= set(METHODS["lape"].options)
    assert not {"sites", "pool", "state"} & set(METHODS["lape"].options)
    for method in METHODS.values():
        assert not {"model", "tokenizer", "texts", "options"} & set(method.options)
    assert MAXIMA.takes("sites") and MAXIMA.takes("count") and MAXIMA.takes("truncate")
    assert Method("bare", lambda m, t, x, a, *, b=1: None).options == ["a", "b"]


def test_a_function_takes_what_its_signature_takes():
    def best(model, tokenizer, texts, **options):
        return expert_ap(model, tokenizer, texts, **options).top(1)

    assert len(find(method=best, k=4, ends="high")) == 3
    assert len(find(method=lambda model, tokenizer, texts: UnitSet(()))) == 0

    class OfAClass:
        def __call__(self, model, tokenizer, texts, share=0.1):
            return expert_ap(model, tokenizer, texts, share=share)

    assert len(find(method=OfAClass(), share=0.05)) == 3 * 12
    with pytest.raises(ArgumentTypeError, match=r"OfAClass'\) has no option 'k'; it has share"):
        find(method=OfAClass(), k=1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: find(method=3),
            ArgumentError,
            "method=3 must be one of expert_ap, expert_auroc, .*, a Method, or",
        ),
        (lambda: find(method=MAXIMA, pool="mean"), ArgumentTypeError, "has no option 'pool'; it has count"),
        (lambda: find(method=MAXIMA, shre=1), ArgumentTypeError, "has no option 'shre'; it has count"),
        (
            lambda: find(method=lambda model, tokenizer, texts: [1]),
            ArgumentTypeError,
            r"method function must return a UnitSet, and returned \[1\]",
        ),
        (lambda: Method("two words", largest_mean), ArgumentError, "name='two words' must be a word"),
        (lambda: Method("x", "largest_mean"), ArgumentTypeError, "fn='largest_mean' must be a function"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
