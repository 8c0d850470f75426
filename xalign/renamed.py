"""Import paths and names of 0.1.0: each still works, with one `DeprecationWarning` that names the new one."""

import functools
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from xalign.errors import ArgumentError
from xalign.warn import warn

P = ParamSpec("P")
R = TypeVar("R")

# Old module -> new module. A name that changed with it stands in NAMES.
MODULES = {
    "xalign.arguments": "xalign.checks",
    "xalign.disk": "xalign.storage",
    "xalign.cli.improvement": "xalign.demo.improvement",
    "xalign.cli.live": "xalign.demo.live",
    "xalign.scores": "xalign.measurement.readings",
    "xalign.readout": "xalign.measurement.subtract",
    "xalign.report": "xalign.views",
    "xalign.report.emergence": "xalign.views.emergence",
    "xalign.report.heatmap": "xalign.views.heatmap",
    "xalign.report.page": "xalign.views.page",
    "xalign.report.save": "xalign.views.save",
    "xalign.report.stages": "xalign.views.stages",
    "xalign.report.table": "xalign.views.table",
    "xalign.metrics.falls": "xalign.statistics.regressions",
    "xalign.metrics.intervals": "xalign.statistics.intervals",
    "xalign.metrics.shuffled": "xalign.statistics.shuffled",
    "xalign.monitor.trackers": "xalign.monitor.report_log",
    "xalign.model.layouts": "xalign.model.architectures.table",
    "xalign.model.map": "xalign.model.architectures.map",
    "xalign.model.ranks": "xalign.model.distributed",
    "xalign.model.sites": "xalign.model.architectures.sites",
    "xalign.model.split": "xalign.model.distributed",
    "xalign.steering.average_precision": "xalign.metrics.average_precision",
    "xalign.steering.calibrate": "xalign.judging.calibrate",
    "xalign.steering.controls": "xalign.judging.controls",
    "xalign.steering.evaluate": "xalign.judging.evaluate",
    "xalign.steering.evaluation": "xalign.judging.evaluation",
    "xalign.steering.expert_ap": "xalign.finding.expert_ap",
    "xalign.steering.find": "xalign.finding.find",
    "xalign.steering.identify": "xalign.judging.identify",
    "xalign.steering.language_means": "xalign.finding.language_means",
    "xalign.steering.language_neurons": "xalign.finding.language_neurons",
    "xalign.steering.lape": "xalign.metrics.lape",
    "xalign.steering.losses": "xalign.judging.text_losses",
    "xalign.steering.mean_difference": "xalign.finding.mean_difference",
    "xalign.steering.origin": "xalign.finding.provenance",
    "xalign.steering.probe": "xalign.judging.probe",
    "xalign.steering.responses": "xalign.finding.activations",
    "xalign.steering.sample": "xalign.judging.sample",
    "xalign.units.fit": "xalign.units.compatibility",
}
# Old name -> where it is now; in a module that moved, or in one that stayed.
NAMES = {
    **{f"xalign.model.encode.{name}": f"xalign.model.batches.{name}" for name in ("Batch", "make_batches")},
    "xalign.model.encode.pad_documents": "xalign.model.batches.pad_documents",
    "xalign.model.encode.context_of": "xalign.model.inputs.context_of",
    "xalign.model.encode.pad_id_of": "xalign.model.inputs.pad_id_of",
    "xalign.model.encode.vocabulary_of": "xalign.model.inputs.vocabulary_of",
    "xalign.metrics.falls.Fall": "xalign.statistics.regressions.Regression",
    "xalign.metrics.falls.falls": "xalign.statistics.regressions.find_regressions",
    "xalign.model.split.let_go": "xalign.model.distributed.reshard",
    **{
        f"xalign.results.history.{name}": f"xalign.results.history_entry.{name}"
        for name in ("KIND", "SCHEMA_VERSION")
    },
    "xalign.model.write.Operator": "xalign.model.operators.OperatorLike",
    "xalign.model.positions.Course": "xalign.model.prompt_tracker.PromptTracker",
    "xalign.scores.METRICS": "xalign.metrics.METRICS",
    "xalign.scores.DEFAULT_METRICS": "xalign.measurement.run.DEFAULT_METRICS",
    "xalign.scores.NeuronSite": "xalign.measurement.options.NeuronSite",
    "xalign.scores.Kernel": "xalign.metrics.metric.Compute",
    "xalign.scores.checked_metrics": "xalign.metrics.metric.resolve_metrics",
    **{
        f"xalign.measurement.{name}": f"xalign.measurement.options.{name}"
        for name in ("NeuronSite", "Steered", "Subtract", "Template")
    },
    "xalign.measurement.DEFAULT_METRICS": "xalign.measurement.run.DEFAULT_METRICS",
    "xalign.measurement.METRICS": "xalign.metrics.METRICS",
    "xalign.readout.take_off": "xalign.measurement.subtract.subtract_offsets",
    "xalign.steering.responses.Responses": "xalign.finding.activations.Activations",
    "xalign.steering.responses.responses": "xalign.finding.activations.activations",
    "xalign.steering.responses.named": "xalign.finding.activations.site_names",
    "xalign.steering.probe.Look": "xalign.judging.probe.Observed",
    **{f"xalign.cli.demo.{name}": f"xalign.demo.emergence.{name}" for name in ("STEPS", "QUICK_STEPS")},
    "xalign.cli.demo.what_one_sees": "xalign.demo.emergence.what_one_sees",
    "xalign.monitor.selection.KeepBest": "xalign.monitor.keep_best.KeepBest",
    "xalign.monitor.trackers.STEP": "xalign.trackers.tracker.STEP",
    "xalign.monitor.trackers.go_offline_without_login": "xalign.trackers.wandb.go_offline_without_login",
    "xalign.training.trainer.LANGUAGES_EVERY": "xalign.training.log.LANGUAGES_EVERY",
    "xalign.steering.evaluate.labels_of": "xalign.judging.arms.labels_of",
    **{
        f"xalign.training.guards.{name}": f"xalign.training.refusals.{name}"
        for name in (
            "gradient_reaches",
            "is_language_model",
            "refuse_foreign",
            "refuse_no_adapter",
            "refuse_no_language_model",
            "refuse_overlap",
            "refuse_reentrant",
            "refuse_small_groups",
            "warn_of_untrained_loss",
        )
    },
    "xalign.units.fit.refuse_unfit": "xalign.units.compatibility.check_compatible",
    "xalign.steering.LanguageIdentifier": "xalign.judging.identify.LanguageIdentifier",
    "xalign.steering.calibrate": "xalign.judging.calibrate.calibrate",
    "xalign.steering.evaluate": "xalign.judging.evaluate.evaluate",
    "xalign.steering.find_units": "xalign.finding.find.find_units",
    "xalign.steering.identify_language": "xalign.judging.identify.identify_language",
    "xalign.steering.language_means": "xalign.finding.language_means.language_means",
    "xalign.steering.mean_difference": "xalign.finding.mean_difference.mean_difference",
    "xalign.steering.random_units": "xalign.judging.controls.random_units",
    "xalign.steering.shuffled_texts": "xalign.judging.controls.shuffled_texts",
}


def renamed(module: str, name: str) -> Any:
    """Return what an old name of a module stands for now, for the `__getattr__` of that module.

    Raises:
        AttributeError: The module never had that name.
    """
    new = NAMES.get(f"{module}.{name}") or f"{MODULES.get(module, '')}.{name}"
    home, _, attribute = new.rpartition(".")
    found = importlib.import_module(home) if home and not name.startswith("__") else None
    if not hasattr(found, attribute):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    value = getattr(found, attribute)
    warn_deprecated(f"{module}.{name}", new)
    setattr(sys.modules[module], name, value)  # the next use finds it here, and says nothing
    return value


def warn_deprecated(old: str, new: str) -> None:
    """Warn, at the line outside xalign that used an old name, that a new one replaces it."""
    warn(f"{old} is deprecated and will be removed in the next version: use {new}", DeprecationWarning)


def with_new_names(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return arguments under their new names, and warn of those that were given under old ones.

    Args:
        given: The arguments.
        names: Old name -> new name.

    Raises:
        ArgumentError: An argument under both names.
    """
    for old in names.keys() & given.keys():
        if names[old] in given:
            raise ArgumentError(f"{old}= is the old name of {names[old]}=; give one of them")
        warn_deprecated(f"{old}=", f"{names[old]}=")
    return {names.get(name, name): value for name, value in given.items()}


def renamed_arguments(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take arguments under their names of 0.1.0: `old="new"`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def with_old_names(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **with_new_names(kwargs, names))

        return with_old_names

    return decorate


class _RenamedModule(ModuleType):
    """A module of 0.1.0 that moved.

    It can be called where the module had a function of its own name: `import` puts the module in the place
    of that function in its package.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return renamed(self.__name__, self.__name__.rpartition(".")[2])(*args, **kwargs)


class _RenamedModules(MetaPathFinder, Loader):
    """Finds the modules of 0.1.0 that moved; each gives the names of the module that replaced it."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        is_package = any(other.startswith(f"{fullname}.") for other in MODULES)
        return ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _RenamedModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        module.__dict__["__getattr__"] = lambda attribute: renamed(name, attribute)


def install() -> None:
    """Make the import paths of 0.1.0 importable."""
    if not any(isinstance(finder, _RenamedModules) for finder in sys.meta_path):
        sys.meta_path.append(_RenamedModules())
