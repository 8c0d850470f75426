"""How a monitor measures, as a tracker's config holds it."""

from collections.abc import Mapping
from dataclasses import fields

from xalign.measurement.options import ReadOptions
from xalign.measurement.run import Measurement
from xalign.model.inputs import TextOptions
from xalign.monitor.cadence import Cadence
from xalign.monitor.scalars import named
from xalign.pairs.parallel import count_range
from xalign.plain_config import Plain, plain_config

PREFIX = "measure"


def settings_of(measurement: Measurement, cadence: Cadence, name: str) -> dict[str, Plain]:
    """Return metrics, sentences, options and cadence; of the sentences, only their number and fingerprint.

    Args:
        measurement: What is measured.
        cadence: When.
        name: The name of the monitor, in front of each key.

    Example:
        >>> from xalign.monitor.monitor import AlignmentMonitor
        >>> AlignmentMonitor(model, tokenizer, pairs, every=100).settings["measure_every"]
        100
    """
    pairs, provenance = measurement.pairs, measurement.provenance
    counts = list(pairs.counts.values())
    options = {one.name: provenance[one.name] for cls in (TextOptions, ReadOptions) for one in fields(cls)}
    found = {
        "metrics": [metric.name for metric in measurement.metrics],
        "languages": list(pairs),
        "pivot": pairs.pivot,
        "pairs": counts[0] if len(set(counts)) == 1 else count_range(counts),
        "fingerprint": pairs.fingerprint[:16],
        "every": cadence.every,
        "at_steps": sorted(cadence.at_steps) or None,
        "max_share": cadence.max_share,
        # What provenance records of a function or of vectors is long, and says nothing to sort by.
        **{one: "given" if isinstance(value, Mapping) else value for one, value in options.items()},
    }
    return plain_config(found, named(PREFIX, name))
