"""Losses: pure functions of tensors that bring translations together, and the `Loss` objects known by name.

A new loss is a file with its function and its `Loss`, and one line in `LOSSES`. So is a new transform of the
states before a loss, in `TRANSFORMS`.
"""

from xalign.losses.additive_margin import ADDITIVE_MARGIN
from xalign.losses.cka import CKA, TOKEN_CKA
from xalign.losses.contrastive import CONTRASTIVE
from xalign.losses.cosine import COSINE
from xalign.losses.hinge import HINGE
from xalign.losses.loss import Loss
from xalign.losses.mse import MSE
from xalign.losses.neuron_state import NEURON_STATE
from xalign.losses.remove_subspace import REMOVE_SUBSPACE
from xalign.losses.subtract_means import SUBTRACT_MEANS
from xalign.losses.transform import Transform
from xalign.losses.transport import TRANSPORT
from xalign.losses.word_level import WORD_LEVEL

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        CONTRASTIVE,
        COSINE,
        NEURON_STATE,
        ADDITIVE_MARGIN,
        HINGE,
        MSE,
        CKA,
        TOKEN_CKA,
        TRANSPORT,
        WORD_LEVEL,
    )
}
TRANSFORMS: dict[str, Transform] = {one.name: one for one in (SUBTRACT_MEANS, REMOVE_SUBSPACE)}
