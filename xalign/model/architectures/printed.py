"""How a map is printed: equal blocks as one, with their places, what was proved, and what is refused."""

from collections.abc import Iterator, Sequence

from xalign.model.architectures.places import BlockPlaces, StackPlaces
from xalign.model.architectures.sites import KINDS, PATH_KINDS, Site


def printed(model_type: str, dtype: str, stacks: Sequence[StackPlaces]) -> Iterator[str]:
    """Yield the lines that describe the stacks of a model."""
    for stack in stacks:
        name = f"{model_type} {stack.name}".strip()
        yield f"{name}: {len(stack.blocks)} blocks, width {stack.width}, {dtype}"
        ranges = list(alike(stack.blocks))
        for first, last in ranges:
            if len(ranges) > 1:
                yield f"  block {first}" if first == last else f"  blocks {first} to {last}"
            yield from _block(stack, first)
        if stack.has_hidden:
            final = stack.final.path or "the model itself"
            yield f"  {Site('hidden', 'final', stack.name)} output of {final}"
        activations = [
            one
            for block in stack.blocks
            for one in (*block.activations, *block.expert_activations)
            if one is not None
        ]
        if activations:
            yield f"  activation   {', '.join(dict.fromkeys(one.name for one in activations))}"


def alike(blocks: Sequence[BlockPlaces]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last number of blocks in a row that have the same places."""
    first = 0
    for number, block in enumerate(blocks):
        if number + 1 == len(blocks) or _shape(blocks[number + 1]) != _shape(block):
            yield first, number
            first = number + 1


def _shape(block: BlockPlaces) -> object:
    """Return what blocks that are printed as one have in common: places and refusals."""
    places = [
        (kind, place.side, place.path.removeprefix(block.path), place.width, str(place.columns), place.axes)
        for kind, found in block.places.items()
        for place in found
    ]
    refused = [(kind, reason.replace(block.path, "")) for kind, reason in block.refused.items()]
    others = [path.removeprefix(block.path) for path in block.others]
    return places, refused, others, list(block.factors.values())


def _block(stack: StackPlaces, number: int) -> Iterator[str]:
    block = stack.blocks[number]
    for kind in (kind for kind in KINDS if kind not in PATH_KINDS):
        for part, place in enumerate(block.places.get(kind, ())):
            factor = block.factors.get(place.path) if kind in ("attn_out", "mlp_out") else None
            times = "" if factor is None else f", added times {factor}"
            yield f"  {Site(kind, number, stack.name, part=part)!s:<11} {place}{times}"
    for path in block.others:
        yield f"  {path} adds what is computed from each token alone, and is of no network: it is no site"
    reasons: dict[str, list[str]] = {}
    for refused, reason in block.refused.items():
        reasons.setdefault(reason, []).append(refused)
    for reason, kinds in reasons.items():
        yield f"  no {', '.join(kinds)}: {reason}"
    if block.notes:
        yield f"  proved: {block.notes}"
