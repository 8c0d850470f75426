"""`refuse_not_finite`: values of a measurement that are not finite, and sentences without a direction."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from xalign.errors import ModelError
from xalign.metrics.metric import NULL
from xalign.model.architectures.sites import Reading
from xalign.warn import warn


def refuse_not_finite(
    values: Mapping[str, Mapping[str, Tensor]],
    readings: Mapping[str, Sequence[Reading]],
    without_direction: Sequence[str],
) -> None:
    """Refuse values that are not finite, and warn of sentences without a direction.

    Args:
        values: Row -> language -> values [layer, pair].
        readings: Row -> what was read at each layer.
        without_direction: Which readings, and of which language, have states of zeros alone.

    Raises:
        ModelError: A value that is not finite.
    """
    for row, languages in values.items():
        for language, of_layers in languages.items():
            if of_layers.is_floating_point() and not bool(of_layers.isfinite().all()):
                place = int((~of_layers.isfinite()).any(dim=1).nonzero()[0])
                where = f"{readings[row.removesuffix(NULL)][place]} of {language}"
                if where in without_direction:
                    raise ModelError(f"only zeros in {where}: such a sentence has no {row}; leave {row} out")
                raise ModelError(f"{row} gave values at {where} that are not finite; it must give numbers")
    if without_direction:
        more = " …" if len(without_direction) > 3 else ""
        warn(
            f"some sentence has only zeros in {', '.join(without_direction[:3])}{more}; "
            "it has no direction, and what is compared with it loses"
        )
