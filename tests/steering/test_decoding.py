"""Steering in every way of decoding: as whole sequences without a cache, edited by position; or refused.

docs/support.md has a table of these tests' results: `python -m tests.steering.support`.
"""

import pytest
import torch

from tests.steering.decoding import MODES, NEW, PADDINGS, POLICIES, REFUSED, SCALE, edited_of, wanted
from tests.steering.support import section_of
from tests.steering.whole_sequences import logits_of
from tests.support_page import PAGE, STEERING
from tests.versions.require import require
from xalign.errors import XAlignError

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers warns of what it is asked to do here

CELLS = [(mode, padding, policy) for mode in MODES for padding in PADDINGS for policy in POLICIES]
# A mode that older releases do not have, and why.
NEWER = {
    "prompt lookup": ("5.14", "its prompt lookup needs an end token"),
    "sliding window, prompt lookup": ("5.14", "its prompt lookup needs an end token"),
    "chunked prefill": ("5.0", "it runs the chunks of a prompt past every hook, so that steering is refused"),
}


def guided(model, found, edited, policy):
    """Scores under guidance: the second sequence begins with the prompt's last column, and is edited too."""
    ids = found.sequences[:, found.mask.shape[1] - 1 :]
    conditional = wanted(model, found, edited).log_softmax(dim=-1)
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    also = torch.ones_like(ids, dtype=torch.bool) if policy == "all" else ids % 3 != 0
    other = logits_of(model, torch.ones_like(ids), also, positions, input_ids=ids)
    other = other[:, :NEW].log_softmax(dim=-1)
    return SCALE * (conditional - other) + other


@pytest.mark.parametrize(("mode", "padding", "policy"), CELLS, ids=lambda part: part)
def test_decoding(mode, padding, policy):
    if (mode, policy) in REFUSED:
        with pytest.raises(XAlignError, match="positions='all'|in another thread"):
            MODES[mode](padding, policy)
        return
    if mode in NEWER:
        release, why = NEWER[mode]
        require(why, transformers=release)
    model, found = MODES[mode](padding, policy)
    edited = edited_of(found, policy)
    assert found.logits.shape[1] == NEW
    assert edited.any() and (policy == "all" or not edited.all())
    assert (found.logits - wanted(model, found, edited)).abs().max() < 1e-4
    # Not vacuous: without the edits, the logits are others.
    assert (found.logits - wanted(model, found, torch.zeros_like(edited))).abs().max() > 1e-2
    if mode == "guidance":
        assert (found.scores - guided(model, found, edited, policy)).abs().max() < 1e-4


def test_the_page_says_what_is_tested():
    """docs/support.md has the table of these tests, all of which have passed."""
    expected = section_of({cell: True for cell in CELLS})
    assert STEERING.on(PAGE.read_text(encoding="utf-8")) == expected
