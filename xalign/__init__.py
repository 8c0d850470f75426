"""xalign: measure, during training, how well a language model lines its languages up, and improve it.

What is listed here is the public API. Names are loaded when first used, so that `import xalign` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xalign.renamed import install

if TYPE_CHECKING:
    from xalign.control.decision import Decision
    from xalign.correlation.correlate import correlate
    from xalign.errors import XAlignError
    from xalign.finding.find import find_units
    from xalign.improving.improve import improve
    from xalign.measurement.diagnosis import diagnose
    from xalign.measurement.items import measure_items
    from xalign.measurement.run import measure
    from xalign.model.architectures.map import ModelMap, map_model
    from xalign.model.architectures.sites import Reading, Site
    from xalign.model.architectures.table import Layout, register_layout
    from xalign.model.visit import visit
    from xalign.monitor.callback import AlignmentCallback
    from xalign.monitor.monitor import AlignmentMonitor
    from xalign.pairs.audio import Audio
    from xalign.pairs.dataset import pairs_from_dataset
    from xalign.pairs.items import ParallelItems
    from xalign.pairs.load import load_pairs
    from xalign.pairs.load_items import load_items
    from xalign.pairs.parallel import ParallelPairs
    from xalign.results.report import AlignmentReport
    from xalign.robustness.measure_robustness import measure_robustness
    from xalign.robustness.measure_stability import measure_stability
    from xalign.steering.steer import steer
    from xalign.training.arguments import AlignmentArguments
    from xalign.training.closed_loop import ClosedLoop
    from xalign.training.config import AlignmentConfig
    from xalign.training.objective import AlignmentObjective
    from xalign.training.trainer import with_alignment
    from xalign.units.language_vector import LanguageVector
    from xalign.units.unit_set import UnitSet

__all__ = [
    "AlignmentArguments",
    "AlignmentCallback",
    "AlignmentConfig",
    "AlignmentMonitor",
    "AlignmentObjective",
    "AlignmentReport",
    "Audio",
    "ClosedLoop",
    "Decision",
    "LanguageVector",
    "Layout",
    "ModelMap",
    "ParallelItems",
    "ParallelPairs",
    "Reading",
    "Site",
    "UnitSet",
    "XAlignError",
    "correlate",
    "diagnose",
    "find_units",
    "improve",
    "load_items",
    "load_pairs",
    "map_model",
    "measure",
    "measure_items",
    "measure_robustness",
    "measure_stability",
    "pairs_from_dataset",
    "register_layout",
    "steer",
    "visit",
    "with_alignment",
]

_HOME = {
    "AlignmentArguments": "xalign.training.arguments",
    "AlignmentCallback": "xalign.monitor.callback",
    "AlignmentConfig": "xalign.training.config",
    "AlignmentMonitor": "xalign.monitor.monitor",
    "AlignmentObjective": "xalign.training.objective",
    "AlignmentReport": "xalign.results.report",
    "Audio": "xalign.pairs.audio",
    "ClosedLoop": "xalign.training.closed_loop",
    "Decision": "xalign.control.decision",
    "LanguageVector": "xalign.units.language_vector",
    "Layout": "xalign.model.architectures.table",
    "ModelMap": "xalign.model.architectures.map",
    "ParallelItems": "xalign.pairs.items",
    "ParallelPairs": "xalign.pairs.parallel",
    "Reading": "xalign.model.architectures.sites",
    "Site": "xalign.model.architectures.sites",
    "UnitSet": "xalign.units.unit_set",
    "XAlignError": "xalign.errors",
    "correlate": "xalign.correlation.correlate",
    "diagnose": "xalign.measurement.diagnosis",
    "find_units": "xalign.finding.find",
    "improve": "xalign.improving.improve",
    "load_items": "xalign.pairs.load_items",
    "load_pairs": "xalign.pairs.load",
    "map_model": "xalign.model.architectures.map",
    "measure": "xalign.measurement.run",
    "measure_items": "xalign.measurement.items",
    "measure_robustness": "xalign.robustness.measure_robustness",
    "measure_stability": "xalign.robustness.measure_stability",
    "pairs_from_dataset": "xalign.pairs.dataset",
    "register_layout": "xalign.model.architectures.table",
    "steer": "xalign.steering.steer",
    "visit": "xalign.model.visit",
    "with_alignment": "xalign.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'xalign' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


install()
