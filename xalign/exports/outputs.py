"""`outputs_of`: what modules give in a forward pass on an example."""

import threading
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial

from torch import Tensor, nn

from xalign.model.architectures.sites import Site
from xalign.model.hooks import Hook, hook_output, remove_hooks
from xalign.model.module_values import output_of
from xalign.model.observe import observing
from xalign.model.run_example import run_example
from xalign.model.undo import Steps, undo
from xalign.model.visit import visit

Outputs = dict[nn.Module, Tensor]
Values = dict[Site, Tensor]


class _Looking:
    """Owns the hooks that look."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()


def outputs_of(
    model: nn.Module, sites: Iterable[Site], modules: Sequence[nn.Module]
) -> tuple[Values, Outputs]:
    """Run a model on an example, and return what is at some sites and what some modules give.

    Args:
        model: The model.
        sites: The sites.
        modules: The modules. Those that are not run are left out, and so are those that give no tensor.

    Returns:
        Site -> values [token, width], and module -> values [token, width].
    """
    values: Values = {}
    outputs: Outputs = {}
    owner = _Looking()
    steps: Steps = [partial(remove_hooks, modules, lambda hook: hook.owner is owner)]
    fns = {site: partial(_keep, values, site) for site in sites}
    try:
        try:
            for module in modules:
                hook_output(module, Hook(owner, partial(_keep_output, outputs)))
            with observing(model), visit(model, fns) if fns else nullcontext():
                run_example(model)
        finally:
            undo(steps)
    finally:
        undo(steps)
    return values, outputs


def _keep(values: Values, site: Site, found: Tensor) -> None:
    values[site] = found.reshape(-1, found.shape[-1]).clone()


def _keep_output(outputs: Outputs, module: nn.Module, args: object, output: object) -> None:  # noqa: ARG001
    found = output_of(output)
    if found is not None:
        outputs[module] = found.reshape(-1, found.shape[-1]).clone()
