"""`ModelMap`: where the sites of one model are."""

import torch
from torch import nn

from xalign.errors import ModelError
from xalign.model.architectures.act_places import with_act_places
from xalign.model.architectures.expert_claims import NO_MIXTURE
from xalign.model.architectures.kinds_of_module import is_linear, widths_of
from xalign.model.architectures.norm_places import norm_paths, norm_place
from xalign.model.architectures.places import Activation, BlockPlaces, Place, StackPlaces
from xalign.model.architectures.printed import printed
from xalign.model.architectures.sites import EXPERT_KINDS, PATH_KINDS, Kind, Site
from xalign.model.architectures.table import Layout, submodule_or_none
from xalign.model.wrapped import base_model_of, config_of


class ModelMap:
    """The sites of one model. A map registers no hooks and changes nothing.

    Attributes:
        model_type: The architecture's name, as in the model's config.
        layout: The module paths, of the first block that has a feed-forward network.
        dtype: Data type of the weights.
    """

    def __init__(
        self, model: nn.Module, model_type: str, stacks: tuple[StackPlaces, ...], layout: Layout
    ) -> None:
        self.model_type, self.layout = model_type, layout
        stacks = tuple(with_act_places(model, stack) for stack in stacks)
        self._model, self._stacks = model, {stack.name: stack for stack in stacks}
        self._main = stacks[0]
        parameters = self._main.blocks[0].module.parameters()
        floats = (one.dtype for one in (*parameters, *model.parameters()) if one.is_floating_point())
        self.dtype: torch.dtype = next(floats)
        self._skipped = {stack.name: self._skipped_in(stack) for stack in stacks}

    @property
    def name(self) -> str:
        """Where the model was loaded from; its architecture where its config does not say."""
        return str(getattr(config_of(self._model), "_name_or_path", "") or self.model_type)

    @property
    def stacks(self) -> tuple[str, ...]:
        """The names of the stacks: one empty name, or several such as `encoder` and `decoder`.

        Sites that name none mean the first: the encoder, or the stack with the most blocks.
        """
        return tuple(self._stacks)

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, in the order in which they run; of the first stack."""
        return [block.module for block in self._main.blocks]

    @property
    def n_layers(self) -> int:
        """Number of transformer blocks. A block that runs several times counts each time."""
        return len(self._main.blocks)

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return self._main.width

    @property
    def ffn_width(self) -> int | None:
        """Number of feed-forward neurons per block; None where there are none, or where blocks differ."""
        widths = {place.width for block in self._main.blocks for place in block.places.get("inner", ())}
        return widths.pop() if len(widths) == 1 else None

    def ffn_width_of(self, layer: int, stack: str = "") -> int | None:
        """Return the number of neurons of a block, in all its networks; None if it has none."""
        places = self._block(layer, stack).places.get("inner", ())
        return sum(place.width for place in places) or None

    @property
    def final(self) -> tuple[nn.Module, str]:
        """The module whose output is the final state, and its path."""
        return self._main.final.module, self._main.final.path

    @property
    def head(self) -> tuple[nn.Module, str]:
        """The language-model head, which makes the logits of tokens of the final state, and its path.

        Raises:
            ModelError: The model has none, as an encoder, or a model loaded without it.
        """
        base = base_model_of(self._model)
        found = getattr(base, "get_output_embeddings", lambda: None)()
        if not isinstance(found, nn.Module):
            raise ModelError(
                f"{type(base).__name__} predicts no tokens; load a causal model with its language-model "
                "head, as AutoModelForCausalLM does"
            )
        return found, next((path for path, one in self._model.named_modules() if one is found), "")

    def activation(self, layer: int, stack: str = "", part: int = 0, kind: Kind = "gate") -> Activation:
        """Return the activation function of a block.

        Args:
            layer: The block.
            stack: Its stack.
            part: Which of its networks, or of its mixtures of experts.
            kind: `gate`, or `expert_gate` for that of a mixture of experts.

        Raises:
            ModelError: It has none, or it is not seen.
        """
        block = self._block(layer, stack)
        activations = block.expert_activations if kind == "expert_gate" else block.activations
        found = activations[part] if part < len(activations) else None
        if found is None:
            raise ModelError(
                f"the activation function of block {layer} of {self.model_type} is not seen, so the "
                "activated gate cannot be computed; read the gate's value, or inner"
            )
        return found

    def keeps_sign(self, layer: int, stack: str = "", part: int = 0) -> bool:
        """Return whether a block's activation function is positive exactly where its input is."""
        return self.activation(layer, stack, part).keeps_sign

    def not_run(self, stack: str = "") -> list[str]:
        """Return the paths of modules that stand among the blocks of a stack and are none of its blocks.

        Text alone does not run them, as those that attend to images, or they do not add to the residual
        stream. Layers are counted without them.
        """
        ran = [block.path for block in self._stack(stack).blocks]
        lists = {path.rpartition(".")[0] for path in ran}
        found = ((path, submodule_or_none(self._model, path)) for path in sorted(lists))
        return [
            f"{path}.{name}"
            for path, listed in found
            if isinstance(listed, nn.ModuleList)
            for name, module in listed.named_children()
            if f"{path}.{name}" not in ran and any(True for _ in module.parameters())
        ]

    def mixtures(self, stack: str = "") -> dict[int, str]:
        """Return the blocks that are mixtures of experts, each with why these cannot be read, else empty."""
        blocks = enumerate(self._stack(stack).blocks)
        reasons = {
            layer: "" if block.places.get("router") else block.refused.get("router", NO_MIXTURE)
            for layer, block in blocks
        }
        return {layer: reason for layer, reason in reasons.items() if reason != NO_MIXTURE}

    def refused(self, kind: Kind, stack: str = "") -> str:
        """Return why a model has no sites of a kind; empty where it has some."""
        blocks = self._stack(stack).blocks
        known = all if kind == "hidden" else any
        if kind in PATH_KINDS or known(block.places.get(kind) for block in blocks):
            return ""
        missing = NO_MIXTURE if kind in EXPERT_KINDS else "it has none"
        return next((block.refused[kind] for block in blocks if kind in block.refused), missing)

    def sites(self, kind: Kind, stack: str = "") -> list[Site]:
        """List all sites of a kind from the lowest on: `hidden` has `embed` first and `final` last.

        Blocks without such a site are left out.

        Args:
            kind: The kind.
            stack: The stack; the first one where empty.

        Raises:
            ModelError: No block has such a site.
        """
        if kind == "linear":
            linear = [name for name, module in self._model.named_modules() if is_linear(module)]
            # An adapter is a Linear made of Linears; the outer one is the site.
            inside = {name for name in linear if any(name.startswith(f"{outer}.") for outer in linear)}
            return [Site("linear", name=name) for name in linear if name not in inside]
        found = self._stack(stack)
        if kind == "norm":
            return self._norms(found)
        self._refuse_unknown(kind, stack, f"sites of kind {kind}")
        self._refuse_skipped(kind, found)
        self._refuse_bypassed(kind, found)
        blocks = [
            Site(kind, layer, found.name, part=part)
            for layer, block in enumerate(found.blocks)
            for part in range(len(block.places.get(kind, ())))
        ]
        if kind == "hidden":
            return [Site(kind, "embed", found.name), *blocks, Site(kind, "final", found.name)]
        return blocks

    def place(self, site: Site) -> Place:
        """Return where a site is.

        Raises:
            ModelError: The model has no such site.
        """
        if site.kind == "linear":
            return self._linear(site)
        if site.kind == "norm":
            return norm_place(self._model, site.name or "", tuple(one.width for one in self._stacks.values()))
        stack = self._stack(site.stack, site)
        if isinstance(site.layer, str):
            self._refuse_unknown(site.kind, site.stack, f"site {site}")
        if site.layer == "final":
            return stack.final
        if site.layer == "embed":
            return stack.embed
        if not isinstance(site.layer, int) or site.layer >= len(stack.blocks):
            raise ModelError(f"site {site}: {self.model_type} has blocks 0 to {len(stack.blocks) - 1}")
        self._refuse_unknown(site.kind, site.stack, f"site {site}")
        self._refuse_skipped(site.kind, stack)
        block = stack.blocks[site.layer]
        places = block.places.get(site.kind, ())
        if site.part < len(places):
            return places[site.part]
        if not places:
            self._refuse_bypassed(site.kind, stack)
        reason = block.refused.get(site.kind, "it has none")
        has = f"has {len(places)} of these" if places else f"has none: {reason}"
        raise ModelError(
            f"site {site}: block {site.layer} {has}; map_model(model).sites({site.kind!r}) lists them"
        )

    def stack(self, name: str = "") -> StackPlaces:
        """Return all places of a stack; of the first one where no name is given.

        Raises:
            ModelError: The model has no such stack.
        """
        return self._stack(name)

    def embed_of(self, stack: str = "") -> Place:
        """Return the input of the first block of a stack, which tells batch and tokens apart."""
        return self._stack(stack).embed

    def _stack(self, name: str, site: Site | None = None) -> StackPlaces:
        if not name:
            return self._main
        if name not in self._stacks:
            what = f"stack={name!r}" if site is None else f"site {site}"
            has = "one stack; leave stack empty" if len(self._stacks) == 1 else " and ".join(self._stacks)
            raise ModelError(f"{what}: {self.model_type} has {has}")
        return self._stacks[name]

    def _block(self, layer: int, stack: str) -> BlockPlaces:
        return self._stack(stack).blocks[layer]

    def _refuse_unknown(self, kind: Kind, stack: str, what: str) -> None:
        reason = self.refused(kind, stack)
        if reason and kind in EXPERT_KINDS:
            raise ModelError(
                f"{what}: {reason}. print(map_model(model)) shows what {self.model_type} has; the metric "
                "'routing' is for mixtures of experts alone"
            )
        if reason:
            raise ModelError(
                f"{what}: {reason}. Take what reads hidden states: metrics=['mexa', 'retrieval'], "
                "loss='contrastive', sites='hidden'. If each block has one feed-forward network, and not a "
                "mixture, say where its modules are: from xalign import Layout, register_layout; "
                f"register_layout({self.model_type!r}, Layout(blocks=..., gate=..., act=..., down=..., "
                "attn_out=..., mlp_out=...))"
            )

    def _skipped_in(self, stack: StackPlaces) -> str:
        """Return the path of the first module below a block of a stack that is skipped, else empty.

        Modules above the last block are no blocks of a model that uses fewer of them, as in early exit.
        """
        classes = {type(block.module) for block in stack.blocks}
        last = stack.blocks[-1].path
        ran = {block.path for block in stack.blocks}
        listed = self._model.get_submodule(last.rpartition(".")[0])
        for name, module in listed.named_children():
            path = f"{last.rpartition('.')[0]}.{name}"
            if path == last:
                break
            if path not in ran and type(module) in classes:
                return path
        return ""

    def _refuse_skipped(self, kind: Kind, stack: StackPlaces) -> None:
        """Refuse sites of a stack where a block is skipped: those above it would have other numbers."""
        if skipped := self._skipped[stack.name]:
            raise ModelError(
                f"site {skipped.rpartition('.')[2]}.{kind} did not fire: {skipped} is of the class of the "
                "other blocks, and is not run or gives back its input, so layers cannot be numbered. If it "
                "is meant to be skipped, take it out of its list"
            )

    def _refuse_bypassed(self, kind: Kind, stack: StackPlaces) -> None:
        """Refuse sites of a kind where a block holds the modules of its siblings' sites and never runs them.

        Such a block has neurons. To leave it out would change what is measured without a word.
        """
        known = {
            (type(block.module), place.path.removeprefix(f"{block.path}."))
            for block in stack.blocks
            for place in block.places.get(kind, ())
            if place.path.startswith(f"{block.path}.")
        }
        for layer, block in enumerate(stack.blocks):
            if block.places.get(kind):
                continue
            for cls, path in sorted(known, key=str):
                if type(block.module) is cls and submodule_or_none(block.module, path) is not None:
                    raise ModelError(
                        f"site {Site(kind, layer, stack.name)} did not fire: block {layer} holds {path}, in "
                        f"which other blocks have their {kind}, and it is not found there "
                        f"({block.refused.get(kind, 'it is not run')})"
                    )

    def _norms(self, stack: StackPlaces) -> list[Site]:
        paths = norm_paths(self._model, stack.width)
        if len(self._stacks) > 1:  # those beside and within the list of its blocks
            holder = stack.blocks[0].path.rpartition(".")[0].rpartition(".")[0]
            paths = [path for path in paths if path.startswith(f"{holder}.")]
        if not paths:
            raise ModelError(
                f"sites of kind norm: {self.model_type} has no module that is a norm of its residual stream; "
                "take sites='hidden'"
            )
        return [Site("norm", name=path) for path in paths]

    def _linear(self, site: Site) -> Place:
        module = submodule_or_none(self._model, site.name or "")
        if module is None or not is_linear(module):
            raise ModelError(
                f"site {site}: the model has no Linear of that name; map_model(model).sites('linear') lists "
                "them"
            )
        return Place(module, site.name or "", "output", widths_of(module)[1], axes="any")

    def __str__(self) -> str:
        """Describe the model: depth, widths, the sites of its blocks, and how they were proved."""
        return "\n".join(printed(self.model_type, str(self.dtype), tuple(self._stacks.values())))
