"""A valid call of every public function, with cheap arguments, as the tests of arguments vary them."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from tests.monitor.training import make_trainer
from tests.tiny import ROOT, make_model, make_tokenizer
from xalign import (
    AlignmentCallback,
    AlignmentConfig,
    AlignmentMonitor,
    AlignmentObjective,
    AlignmentReport,
    LanguageVector,
    ParallelPairs,
    Site,
    UnitSet,
    find_units,
    load_pairs,
    map_model,
    measure,
    steer,
    visit,
)
from xalign.finding import language_means, mean_difference
from xalign.finding.activations import activations
from xalign.finding.expert_ap import expert_ap
from xalign.finding.language_neurons import language_neurons
from xalign.judging import (
    LanguageIdentifier,
    calibrate,
    evaluate,
    identify_language,
    random_units,
    shuffled_texts,
)
from xalign.judging.sample import sample
from xalign.metrics.average_precision import average_precision
from xalign.metrics.lape import lape
from xalign.results.history import History

PAIRS = load_pairs("bundled", languages=["deu_Latn"], n=4)
TEXTS = {code: lines[:3] for code, lines in PAIRS.texts.items()}
ALIGNED = AlignmentConfig(pairs=PAIRS, layer=1)
FILES = ROOT / "tests" / "written_by_0_1_0"
UNITS = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
VECTOR = LanguageVector("deu_Latn", {Site("hidden", 1): torch.ones(32)})


@cache
def report() -> AlignmentReport:
    return AlignmentReport.load(FILES / "report")


@cache
def trainer() -> Any:
    return make_trainer(evaluate=False)


@cache
def model() -> Any:
    return make_model("llama")


def entered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A context, entered and left, with one forward inside."""

    def call(**arguments: Any) -> None:
        with function(**arguments):
            model()(input_ids=torch.tensor([[1, 20, 30]]))

    return call


def consumed(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **arguments: list(function(**arguments))


def of_model(**others: Any) -> dict[str, Any]:
    return {"model": model(), "tokenizer": make_tokenizer(), **others}


def finder(**others: Any) -> dict[str, Any]:
    return of_model(
        texts=TEXTS, pool_special_tokens=True, truncate=False, token_budget=512, site_bytes=2**20, **others
    )


READ = {
    "template": None,
    "template_pooled": False,
    "pool_special_tokens": True,
    "truncate": False,
    "max_length": None,
    "source_codes": None,
    "pool": "mean",
    "state_site": "gate",
    "value_site": "inner",
    "include_embedding": True,
    "stack": "",
    "token_budget": 512,
    "subtract": None,
    "steered": None,
    "seed": 0,
    "revision": None,
    "progress": False,
}
GENERATED = {
    "prompt": "It",
    "generation": {"max_new_tokens": 2},
    "identify": identify_language,
    "token_budget": 512,
}

# Name -> the call, and a function that makes its arguments.
CALLS: Mapping[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
    "measure": (measure, lambda: of_model(pairs=PAIRS, metrics=["nasca"], step=1, distributed=False, **READ)),
    "find_units": (find_units, lambda: finder(method="expert_ap", sites="1.inner", k=2)),
    "expert_ap": (
        expert_ap,
        lambda: finder(
            sites="1.inner",
            share=None,
            k=2,
            threshold=None,
            ends="both",
            value="mean",
            pool="mean",
            state="value",
        ),
    ),
    "language_neurons": (language_neurons, lambda: finder(share=0.1, bar=0.9, penalty=None)),
    "language_means": (
        language_means,
        lambda: finder(metrics=["mexa"], pool="mean", state_site="gate", value_site="inner"),
    ),
    "mean_difference": (
        mean_difference,
        lambda: finder(sites="1.hidden", from_others=True, block_by_block=False, pool="mean", state="value"),
    ),
    "activations": (consumed(activations), lambda: finder(sites="1.inner", pool="mean", state="value")),
    "evaluate": (
        evaluate,
        lambda: of_model(
            what=UNITS,
            texts=TEXTS,
            finding=None,
            how={"strength": 1.5},
            pairs=None,
            labels=["deu_Latn"],
            samples=2,
            seeds=1,
            first_seed=0,
            random_sets=1,
            shuffles=0,
            metrics=["nasca"],
            **GENERATED,
        ),
    ),
    "calibrate": (
        calibrate,
        lambda: of_model(
            what=UNITS,
            texts=TEXTS,
            operator="set",
            strengths=[1.5],
            positions=["all"],
            max_rise=9.0,
            samples=2,
            seed=0,
            **GENERATED,
        ),
    ),
    "sample": (sample, lambda: of_model(n=1, prompt="It", seed=0, generation={"max_new_tokens": 2})),
    "random_units": (random_units, lambda: {"model": model(), "units": UNITS, "seed": 0}),
    "shuffled_texts": (shuffled_texts, lambda: {"texts": TEXTS, "seed": 0}),
    "LanguageIdentifier": (LanguageIdentifier, lambda: {"texts": TEXTS}),
    "identify_language": (identify_language, lambda: {"text": "Guten Morgen"}),
    "average_precision": (
        average_precision,
        lambda: {"scores": torch.rand(4, 3), "positive": torch.arange(4) < 2, "block_bytes": 1024},
    ),
    "lape": (lape, lambda: {"probability": torch.rand(3, 50), "share": 0.1, "bar": 0.9, "penalty": 0.1}),
    "map_model": (map_model, lambda: {"model": model()}),
}

# Functions whose own tests say how each argument is named; here only that no foreign error comes out.
OTHERS: Mapping[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
    "steer": (
        entered(steer),
        lambda: {
            "model": model(),
            "what": UNITS,
            "operator": "set",
            "strength": 1.5,
            "positions": "all",
            "trace": False,
        },
    ),
    "visit": (entered(visit), lambda: {"model": model(), "fns": {Site("hidden", 1): lambda values: None}}),
    "load_pairs": (
        load_pairs,
        lambda: {"source": "bundled", "languages": ["deu"], "pivot": "eng_Latn", "n": 4},
    ),
    "ParallelPairs": (
        ParallelPairs,
        lambda: {
            "texts": TEXTS,
            "pivot": "eng_Latn",
            "ids": ["a", "b", "c"],
            "documents": ["x", "x", "y"],
            "source": "own",
        },
    ),
    "LanguageVector": (
        LanguageVector,
        lambda: {
            "label": "deu_Latn",
            "vectors": VECTOR.vectors,
            "provenance": {},
            "state": "value",
            "pool": "mean",
        },
    ),
    "UnitSet.from_rows": (
        UnitSet.from_rows,
        lambda: {"rows": [("deu_Latn", "1.inner", 7, 0.9, 2.5)], "provenance": None},
    ),
    "AlignmentMonitor": (
        AlignmentMonitor,
        lambda: of_model(
            pairs=PAIRS,
            metrics=["nasca"],
            every=2,
            max_share=0.1,
            save_dir=None,
            save_reports=False,
            on_regression="ignore",
            name="own",
            **READ,
        ),
    ),
    "AlignmentConfig": (
        AlignmentConfig,
        lambda: {name: getattr(ALIGNED, name) for name in vars(ALIGNED) if not name.startswith("_")},
    ),
    "AlignmentObjective": (
        AlignmentObjective,
        lambda: of_model(pairs=PAIRS, layer=1, batch_size=2, config=None),
    ),
    "AlignmentCallback": (
        AlignmentCallback,
        lambda: {
            **{"trainer": trainer(), "pairs": PAIRS, "every": 2, "metrics": ["nasca"], "at_evaluate": False},
            **{"at_start": True, "at_end": True, "max_share": 0.1, "keep_best": None},
            **{"on_regression": "ignore", "heatmap_every": None, "log_text": False, "name": ""},
            **{"save_reports": False, "tokenizer": make_tokenizer(), "trackers": (), "token_budget": 512},
        },
    ),
    "AlignmentReport.load": (AlignmentReport.load, lambda: {"folder": FILES / "report"}),
    "History.load": (History.load, lambda: {"path": FILES / "history.jsonl"}),
    "UnitSet.from_pretrained": (UnitSet.from_pretrained, lambda: {"source": FILES / "units"}),
    "compare": (lambda before: report().compare(before), lambda: {"before": report()}),
}
