"""Speech: sequences compared frame by frame, transcripts of each layer, and what pronunciation explains."""

from xalign.speech.early_exit import EarlyExit, early_exit, error_rate
from xalign.speech.pronunciation import by_pronunciation, phone_distance, phone_distances, phone_similarity
from xalign.speech.sequences import Sequences, measure_sequences

__all__ = [
    "EarlyExit",
    "Sequences",
    "by_pronunciation",
    "early_exit",
    "error_rate",
    "measure_sequences",
    "phone_distance",
    "phone_distances",
    "phone_similarity",
]
