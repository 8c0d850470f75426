"""Whisper base: what is read from its blocks, with its own decoder."""

import pytest

from tests.realmodels.speech import RATE
from xalign import Audio
from xalign.speech import early_exit


@pytest.mark.slow
def test_the_last_block_transcribes_and_the_first_does_not(whisper_base, speech):
    model, processor = whisper_base
    said = "Guten Morgen, heute regnet es in Berlin."
    options = {"language": "de", "task": "transcribe", "max_new_tokens": 30}
    found = early_exit(model, processor, [Audio(speech(said, "de"), RATE)], [said], layers=[0, 5], **options)
    assert found.errors(5)[0] < 0.3
    assert found.errors(0)[0] > found.errors(5)[0] + 0.3
