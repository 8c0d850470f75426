"""The ways that benchmarks/confusion.py compares. Each sees the prompts to find with, and no others."""

from dataclasses import dataclass
from functools import cached_property

import torch
from confusion_lora import OTHERS

from xalign import find_units
from xalign.babel import write_pairs
from xalign.babel.tokenizer import SEPARATOR
from xalign.confusion import answer_shifts, confusion_points
from xalign.finding.attribution import attribution
from xalign.finding.language_vectors import language_vectors
from xalign.judging import LanguageIdentifier, random_units
from xalign.steering.interventions.confusion_neurons import edit_confusion_neurons
from xalign.steering.interventions.contrastive_addition import from_last_prompt
from xalign.steering.interventions.language_arithmetic import language_arithmetic

POINTS = 8  # confusion points of each language
WIDTH = 384  # neurons of a block
SITES = ("2.hidden", "3.hidden", "4.hidden")


@dataclass
class Finding:
    """What a way is found with: the model with the LoRA, the one without, and prompts.

    Attributes:
        confused: The model that answers in English.
        base: The model without the LoRA.
        tokenizer: Their tokenizer.
        prompts: Language -> prompts.
        judge: What answers them.
    """

    confused: torch.nn.Module
    base: torch.nn.Module
    tokenizer: object
    prompts: dict
    judge: object

    @cached_property
    def texts(self):
        """Parallel sentences of Babel."""
        return write_pairs(200, 3, "train").texts

    @cached_property
    def units(self):
        """Expert units of the model without the LoRA."""
        return find_units(
            self.base, self.tokenizer, self.texts, method="expert_ap", sites="inner", share=0.02
        )

    @cached_property
    def shifts(self):
        """Number of tokens -> language -> the mean state without the LoRA less that with it."""
        asked = [one for code in OTHERS for one in self.prompts[code]]
        how = {"stop": [self.tokenizer.convert_tokens_to_ids(SEPARATOR)]}
        return {
            tokens: answer_shifts(
                self.confused, self.base, self.tokenizer, asked, list(SITES), tokens=tokens, **how
            )
            for tokens in (1, 16)
        }

    @cached_property
    def neurons(self):
        """The neurons behind the first English token of each answer, the best first, and how they compare."""
        identify = LanguageIdentifier(write_pairs(400, 1, "train").texts)
        stop = [self.tokenizer.convert_tokens_to_ids(SEPARATOR)]
        texts, targets = [], []
        for code in OTHERS:
            found = confusion_points(
                self.confused,
                self.tokenizer,
                self.prompts[code][:POINTS],
                identify,
                max_new_tokens=16,
                stop=stop,
            )
            texts += [one.text for one in found if one is not None]
            targets += [one.target for one in found if one is not None]
        how = {"targets": {"eng_Latn": targets}, "keep": 1000, "k": 500, "reference": self.base}
        return attribution(self.confused, self.tokenizer, {"eng_Latn": texts}, **how)

    def at(self, vector, site):
        """Return a vector at one of its sites."""
        return type(vector)(
            vector.label,
            {one: values for one, values in vector.vectors.items() if str(one) == site},
            vector.provenance,
            vector.state,
            vector.pool,
        )


class Way:
    """A way to bring answers back: what is tried, and what it makes for each language."""

    is_everywhere = False

    def __init__(self, name):
        self.name = name

    def how(self, setting):
        """Return the arguments of `steer`."""
        return {"strength": setting[-1]}

    def random(self, model, edit, seed):  # noqa: ARG002
        """Return a control of the same size."""
        return edit.random(seed)


class Neurons(Way):
    """Confusion neurons, silenced or copied from the model without the LoRA; the same for every prompt."""

    is_everywhere = True

    def __init__(self, mode, counts):
        super().__init__(f"editing neurons, {mode}")
        self._mode, self._counts = mode, counts

    def settings(self, finding):
        """Yield (number of neurons, strength); at most so many that a random control finds as many others."""
        most = max(self._counts)
        while any(len(rows.columns) > WIDTH // 2 for rows in finding.neurons.top(most).by_site().values()):
            most -= 5
        yield from ((count, 1.0) for count in dict.fromkeys(min(count, most) for count in self._counts))

    def make(self, finding, setting):
        """Return the same edit for each language."""
        reference = {"reference": finding.base} if self._mode == "copy" else {}
        units = finding.neurons.top(setting[0])
        edit = edit_confusion_neurons(finding.confused, units, mode=self._mode, **reference)
        return dict.fromkeys(OTHERS, edit)


class Arithmetic(Way):
    """Language arithmetic: the neurons of the language on, those of English off."""

    def settings(self, finding):  # noqa: ARG002
        """Yield (positions, strength)."""
        yield from ((positions, strength) for positions in ("all", "answer") for strength in (1.0, 2.0, 4.0))

    def make(self, finding, setting):
        """Return the edit of each language."""
        positions = _POSITIONS[setting[0]]
        return {
            code: language_arithmetic(
                *(finding.confused, finding.tokenizer, finding.units, finding.texts, code, "eng_Latn"),
                positions=positions,
            )
            for code in OTHERS
        }


class Forcing(Way):
    """The expert units of the language, set to the values that they have in it."""

    def settings(self, finding):  # noqa: ARG002
        """Yield (positions, strength)."""
        yield from ((positions, strength) for positions in ("all", "answer") for strength in (1.0, 2.0, 4.0))

    def how(self, setting):
        """Return the arguments of `steer`."""
        return {"operator": "set", "strength": setting[-1], "positions": _POSITIONS[setting[0]]}

    def make(self, finding, setting):  # noqa: ARG002
        """Return the units of each language."""
        return {code: finding.units[code] for code in OTHERS}

    def random(self, model, edit, seed):
        """Return as many other units with the same values."""
        return random_units(model, edit, seed=seed)


class Languages(Way):
    """Difference of means of two languages: states of sentences without the LoRA, less English ones."""

    def settings(self, finding):  # noqa: ARG002
        """Yield (site, strength)."""
        yield from ((site, strength) for site in SITES for strength in (1.0, 2.0, 4.0))

    def how(self, setting):
        """Return the arguments of `steer`."""
        return {"strength": setting[-1], "positions": from_last_prompt}

    def make(self, finding, setting):
        """Return the vector of each language."""
        found = language_vectors(
            finding.base, finding.tokenizer, finding.texts, setting[0], against="eng_Latn"
        )
        return {code: found[code] for code in OTHERS}


class Models(Way):
    """Difference of means of two models: states where a prompt is answered, without the LoRA less with it."""

    def __init__(self, name, tokens, positions, strengths):
        super().__init__(name)
        self._tokens, self._positions, self._strengths = tokens, positions, strengths

    def settings(self, finding):  # noqa: ARG002
        """Yield (site, strength)."""
        yield from ((site, strength) for site in SITES for strength in self._strengths)

    def how(self, setting):
        """Return the arguments of `steer`."""
        return {"strength": setting[-1], "positions": self._positions}

    def make(self, finding, setting):
        """Return the vector of each language."""
        return {code: finding.at(vector, setting[0]) for code, vector in finding.shifts[self._tokens].items()}


_POSITIONS = {"all": "all", "answer": from_last_prompt}
WAYS = (
    Models("means of two models, first token", 1, "last_prompt", (0.75, 1.0, 1.5)),
    Models("means of two models, all tokens", 16, from_last_prompt, (1.0, 1.5, 2.0)),
    Languages("means of two languages"),
    Neurons("zero", (20, 50, 100, 200)),
    Neurons("copy", (50, 200, 500)),
    Arithmetic("language arithmetic"),
    Forcing("forcing"),
)
