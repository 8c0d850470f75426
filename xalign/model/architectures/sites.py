"""`Site` and `Reading`: names of places in a model, and of what is read there. No model is needed here."""

from dataclasses import dataclass
from typing import Literal, get_args

from xalign.errors import ArgumentError, ArgumentTypeError

Kind = Literal[
    "hidden",
    "gate",
    "act",
    "inner",
    "attn_out",
    "mlp_out",
    "expert_gate",
    "expert_inner",
    "router",
    "norm",
    "linear",
]
Layer = int | Literal["embed", "final"]
State = Literal["value", "abs", "active", "act"]
Pool = Literal["weighted", "last", "mean", "max", "first"]

KINDS: tuple[Kind, ...] = get_args(Kind)
# Sites at which a token has values for the experts alone that it was routed to.
EXPERT_KINDS: tuple[Kind, ...] = ("expert_gate", "expert_inner", "router")
# Sites of modules that are called by their path.
PATH_KINDS: tuple[Kind, ...] = ("norm", "linear")
STATES: tuple[State, ...] = ("value", "abs", "active", "act")
POOLS: tuple[Pool, ...] = ("weighted", "last", "mean", "max", "first")


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a model.

    Attributes:
        kind: What is found there.

            - `hidden`: the residual stream after block `layer`, or at `"embed"` or `"final"`;
            - `gate`: the output of the gate projection, before its activation function (of fc1 where the
              feed-forward network has no gate);
            - `act`: the output of the activation function, where this is a module: the activated gate, before
              the up projection multiplies it;
            - `inner`: the input of the down projection, one coordinate per neuron;
            - `attn_out`, `mlp_out`: what the sub-layer adds to the residual stream;
            - `expert_gate`, `expert_inner`: the same as `gate` and `inner` in the experts of a mixture;
              coordinate `expert × width + j` is neuron j of an expert, 0 for a token not routed there;
            - `router`: per expert the weight with which its output enters, 0 where a token was not routed
              there;
            - `norm`: the output of the norm of the residual stream at module path `name`;
            - `linear`: the output of the Linear at module path `name`.
        layer: Block, counted from 0; for `hidden` also `"embed"` (the input of block 0) or `"final"` (after
            the final norm); None for `norm` and `linear`.
        stack: `"encoder"` or `"decoder"` where a model has both, another name where it has other stacks, else
            empty. `ModelMap.stacks` lists them.
        name: Module path, for `norm` and `linear` only.
        part: Which of several in one block, in the order of the forward, from 0. A block may hold several
            feed-forward networks, or attend twice.

    Example:
        >>> str(Site("inner", 3)), Site.parse("final.hidden")
        ('3.inner', Site(kind='hidden', layer='final', stack='', name=None, part=0))
    """

    kind: Kind
    layer: Layer | None = None
    stack: str = ""
    name: str | None = None
    part: int = 0

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        if self.kind not in KINDS:
            raise ArgumentError(f"kind={self.kind!r} must be one of {', '.join(KINDS)}")
        if not isinstance(self.stack, str) or (self.stack and not self.stack.isidentifier()):
            raise ArgumentError(
                f"stack={self.stack!r} must be a name like 'encoder' or 'decoder', or empty; "
                "map_model(model).stacks lists those of a model"
            )
        if isinstance(self.part, bool) or not isinstance(self.part, int) or self.part < 0:
            raise ArgumentError(f"part={self.part!r} must be a number from 0")
        if self.part and self.kind in ("hidden", *PATH_KINDS):
            raise ArgumentError(f"part={self.part} is for sites within a block, not for {self.kind}")
        if self.kind in PATH_KINDS:
            if not self.name or self.layer is not None:
                raise ArgumentError(f"a {self.kind} site takes name='path.of.the.module' and no layer")
            return
        if self.name is not None:
            raise ArgumentError(f"name={self.name!r} is for linear and norm sites; {self.kind} takes a layer")
        if isinstance(self.layer, bool) or not isinstance(self.layer, int | str):
            raise ArgumentTypeError(
                f"layer={self.layer!r} must be a block number from 0, or for hidden 'embed' or 'final'"
            )
        if isinstance(self.layer, int):
            if self.layer < 0:
                raise ArgumentError(
                    f"layer={self.layer} is negative; blocks are counted from 0, and 'final' is the last "
                    "state"
                )
        elif self.kind != "hidden" or self.layer not in ("embed", "final"):
            raise ArgumentError(
                f"layer={self.layer!r} is no layer of kind {self.kind}; give a block number from 0"
            )

    def __str__(self) -> str:
        """Return the text form, which `parse` reads."""
        if self.kind in PATH_KINDS:
            return f"{self.kind}:{self.name}"
        number = str(self.part) if self.part else ""
        return ".".join(one for one in (self.stack, str(self.layer), self.kind, number) if one)

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Make a site of text like `3.inner`, `decoder.3.inner.1`, `final.hidden` or `linear:some.module`.

        A norm is `norm:some.module`.
        """
        if not isinstance(text, str):
            raise ArgumentTypeError(f"site must be text like '3.inner', not {text!r:.60}")
        for path_kind in PATH_KINDS:
            if text.startswith(f"{path_kind}:"):
                return cls(path_kind, name=text.removeprefix(f"{path_kind}:"))
        words = text.split(".")
        part = int(words.pop()) if len(words) > 2 and words[-1].isdecimal() else 0  # noqa: PLR2004
        stack, layer, kind = ["", *words][-3:] if len(words) in (2, 3) else ["", "", ""]  # noqa: PLR2004
        if not layer:
            raise ArgumentError(
                f"site {text!r} must look like '3.inner', 'final.hidden' or 'linear:module.path'"
            )
        number = int(layer) if layer.isdecimal() else layer
        return cls(kind, number, stack, part=part)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read at a site: a state per token, pooled over the tokens of a sentence.

    Attributes:
        site: The place.
        state: `value`; `abs`, its absolute value; `active`, 1 where the activated value is > 0, else 0;
            `act`, the value after the activation function (`gate` and `expert_gate` only). Of `router`,
            `active` is 1 where the expert was chosen.
        pool: `weighted`, the sum of w_t times the state with w_t = t / (1 + … + T) for t = 1…T; `last`;
            `mean`; `max`; `first`, such as [CLS]. All run over the tokens of the sentence that are pooled. In
            a model that reads from left to right, the first token sees no other.
    """

    site: Site
    state: State = "value"
    pool: Pool = "weighted"

    def __post_init__(self) -> None:
        """Check the site, and refuse unknown states and pools."""
        if not isinstance(self.site, Site):
            raise ArgumentTypeError(f"site must be an xalign.Site, not {self.site!r:.60}; see Site.parse")
        if self.state not in STATES:
            raise ArgumentError(f"state={self.state!r} must be one of {', '.join(STATES)}")
        if self.pool not in POOLS:
            raise ArgumentError(f"pool={self.pool!r} must be one of {', '.join(POOLS)}")
        if self.state == "act" and self.site.kind not in ("gate", "expert_gate"):
            raise ArgumentError(
                f"state='act' is the activated gate; site {self.site} has no activation function"
            )

    def __str__(self) -> str:
        """Like `3.gate:active:weighted`."""
        return f"{self.site}:{self.state}:{self.pool}"
