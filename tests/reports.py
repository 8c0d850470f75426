"""Reports written down by hand: metrics of a user's own, and models with two stacks."""

import torch

from xalign import AlignmentReport, ParallelPairs, Site
from xalign.metrics import METRICS
from xalign.metrics.scale import Scale
from xalign.results.values import Cost, LanguageStats, MetricResult

N = 12
PAIRS = ParallelPairs(
    {
        "eng_Latn": [f"English {row}" for row in range(N)],
        "deu_Latn": [f"Deutsch {row}" for row in range(N)],
        "rus_Cyrl": [f"Russisch {row}" for row in range(N)],
    }
)
DISTANCE = Scale("Mean distance", unit="nats", bounds=None, higher_is_better=False)
MISSES = Scale("Misses", unit="share of pairs", bounds=(0.0, 1.0), higher_is_better=False)


def result(metric, scale, sites, values, floor=None, chance=None):
    """Values [site, pair] for German; Russian has the same in another order of pairs."""
    values = torch.as_tensor(values)
    floors = {} if floor is None else dict.fromkeys(PAIRS, torch.as_tensor(floor))
    return MetricResult(
        metric=metric,
        scale=scale,
        sites=tuple(sites),
        readings=tuple(f"{site}:value:weighted" for site in sites),
        values={"deu_Latn": values, "rus_Cyrl": values.flip(1)},
        floors=floors,
        chance=dict.fromkeys(PAIRS, chance),
    )


def report_of(step=None, **metrics):
    stats = dict.fromkeys(["eng_Latn", *PAIRS], LanguageStats(3.0, 0.0))
    provenance = {"model": "by-hand", "fingerprint": PAIRS.fingerprint, "revision": None}
    return AlignmentReport(PAIRS, metrics, stats, Cost(1.0, 1.0, 1, 1, 1), provenance, step)


def own_metrics(step=None, distance=1000.0):
    """An unbounded distance without floor and chance, and a share of misses with both; less is better."""
    generator = torch.Generator().manual_seed(0)
    sites = [Site("hidden", "embed"), Site("hidden", 0), Site("hidden", "final")]
    near = distance + torch.arange(3.0)[:, None] * 10 + torch.rand(3, N, generator=generator)
    missed = torch.zeros(3, N, dtype=torch.bool)
    missed[0, :9], missed[1, :2], missed[2, :2] = True, True, True
    floor = torch.arange(N) < 8
    return report_of(
        step,
        distance=result("distance", DISTANCE, sites, near.double()),
        misses=result("misses", MISSES, sites, missed, floor, chance=0.75),
    )


def two_stacks(step=None, seed=0):
    """NASCA and MEXA of a model with an encoder and a decoder; their layers have the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    gates = [Site("gate", layer, stack) for stack in ("encoder", "decoder") for layer in (0, 1)]
    hidden = [
        Site("hidden", layer, stack) for stack in ("encoder", "decoder") for layer in ("embed", 0, "final")
    ]
    floor = torch.arange(N) < 3
    shares = {"encoder": 0.7, "decoder": 0.4}
    return report_of(
        step,
        **{
            name: result(
                name,
                METRICS[name].scale,
                sites,
                torch.stack([torch.rand(N, generator=generator) < shares[site.stack] for site in sites]),
                floor,
                1 / 23,
            )
            for name, sites in (("nasca", gates), ("mexa", hidden))
        },
    )
