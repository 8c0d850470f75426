"""Probe each layer of a model: shared neurons, word units, latent language, minimal pairs."""

from xalign.probing.labelled import LabelledText, labelled_texts
from xalign.probing.latent_language import LatentLanguage, latent_language, translation_prompts
from xalign.probing.lens import logit_lens
from xalign.probing.minimal_pairs import MinimalPairs, probe_minimal_pairs
from xalign.probing.neuron_kinds import NeuronKinds, neuron_kinds
from xalign.probing.overlaps import Overlaps, overlaps
from xalign.probing.selectors import SELECTORS, Selector
from xalign.probing.sharing import Sharing, neuron_sharing
from xalign.probing.token_sets import TokenSets, answer_sets, token_sets
from xalign.probing.track_overlaps import OverlapHistory, track_overlaps
from xalign.probing.word_units import word_units

__all__ = [
    "SELECTORS",
    "LabelledText",
    "LatentLanguage",
    "MinimalPairs",
    "NeuronKinds",
    "OverlapHistory",
    "Overlaps",
    "Selector",
    "Sharing",
    "TokenSets",
    "answer_sets",
    "labelled_texts",
    "latent_language",
    "logit_lens",
    "neuron_kinds",
    "neuron_sharing",
    "overlaps",
    "probe_minimal_pairs",
    "token_sets",
    "track_overlaps",
    "translation_prompts",
    "word_units",
]
