"""`Meaning`: what a sentence says in any language, and how meanings are drawn."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from xalign.babel.lexicon import load_lexicon
from xalign.babel.templates import SLOT, TIMES, load_templates

FREE = 0.15
"""The share of slots that are drawn uniformly; the others follow the preferences of agents and actions."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a sentence says: a template, and the names of the concepts that fill its slots.

    Attributes:
        template: Name of the template.
        agent: Who acts.
        action: What the agent does.
        object: What the action is done to.
        witness: Who reports or asks it; None if the template has no such slot.
        place: Where it happens, or None.
        time: When it happens, or None.
        reason: Why it happens, or None.

    Example:
        >>> meaning = Meaning("habit_asks", "baker", "sell", "honey", witness="nurse", place="market")
        >>> meaning.sentence("eng_Latn")
        'The nurse asks whether the baker sells honey at the market.'
        >>> meaning.sentence("deu_Latn")
        'Die Krankenschwester fragt, ob der Bäcker auf dem Markt Honig verkauft.'
        >>> meaning.intent
        'inquire_food'
    """

    template: str
    agent: str
    action: str
    object: str
    witness: str | None = None
    place: str | None = None
    time: str | None = None
    reason: str | None = None

    @property
    def intent(self) -> str:
        """The label of the transfer task: the speech act, and the domain of the object."""
        return f"{load_templates()[self.template].act}_{load_lexicon().objects[self.object].domain}"

    @property
    def slots(self) -> dict[str, str]:
        """The filled slots: name -> concept."""
        names = ("agent", "action", "object", "witness", "place", "time", "reason")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def sentence(self, language: str) -> str:
        """Write the meaning as a sentence of one of Babel's languages, given by its code."""
        template, lexicon = load_templates()[self.template], load_lexicon()
        agent = lexicon.agents[self.agent]
        verb = lexicon.actions[self.action].forms[language]
        noun = lexicon.objects[self.object].forms[language]
        words = {
            "agent": agent.forms[language][""],
            "object": noun[""],
            "no_object": noun["negated"],
            "past": verb[f"past_{agent.gender}"],
            **{form: verb[form] for form in ("infinitive", "imperfective", "present")},
        }
        if self.witness:
            words["witness"] = lexicon.agents[self.witness].forms[language][""]
        if self.place:
            words["place"] = lexicon.places[self.place].forms[language][""]
        if self.time:
            words["time"] = lexicon.times[self.time].forms[language][""]
        if self.reason:
            tense = "past" if template.tense == "past" else "present"
            words["reason"] = lexicon.reasons[self.reason].forms[language][tense]

        def fill(slot: str) -> str:
            return slot.split("|")[agent.gender == "f"] if "|" in slot else words[slot]

        text = SLOT.sub(lambda match: fill(match[1]), template.patterns[language])
        if language == "zho_Hans":
            return text.replace(" ", "")
        first = 1 if text.startswith("¿") else 0
        return text[:first] + text[first].upper() + text[first + 1 :]


def draw_meanings(random_state: random.Random) -> Iterator[Meaning]:
    """Draw meanings of all splits without end; a meaning can occur more than once.

    Slots depend on one another, except for the share `FREE`: a baker bakes more often than he rents, usually
    bread, in the bakery, and at certain times. This gives a language model meanings to learn; with
    independent slots it could learn only words.

    Args:
        random_state: The source of randomness.

    Yields:
        One meaning after another.
    """
    lexicon, templates = load_lexicon(), tuple(load_templates().values())
    agents, reasons = tuple(lexicon.agents), tuple(lexicon.reasons)
    times = {
        kind: tuple(name for name, time in lexicon.times.items() if time.kind == kind)
        for kind in TIMES.values()
    }
    peers = {
        agent: tuple(
            name for name in agents if name != agent and lexicon.agents[name].domain == concept.domain
        )
        for agent, concept in lexicon.agents.items()
    }

    def pick(preferred: tuple[str, ...], allowed: tuple[str, ...]) -> str:
        if random_state.random() < FREE:
            return random_state.choice(allowed)
        weights = [1 / rank for rank in range(1, len(preferred) + 1)]
        return random_state.choices(preferred, weights)[0]

    while True:
        template = random_state.choice(templates)
        name = random_state.choice(agents)
        prefers = lexicon.agents[name].prefers
        action = pick(prefers["actions"], tuple(lexicon.actions))
        objects = lexicon.actions[action].prefers["objects"]
        drawn = {"agent": name, "action": action, "object": pick(objects, objects)}
        for slot in template.slots:
            match slot:
                case "witness":
                    drawn[slot] = pick(peers[name], tuple(other for other in agents if other != name))
                case "place":
                    drawn[slot] = pick(prefers["places"], tuple(lexicon.places))
                case "time":
                    options = times[TIMES[template.tense]]
                    drawn[slot] = pick(_habits(options, agents.index(name)), options)
                case "reason":
                    drawn[slot] = pick(_habits(reasons, tuple(lexicon.actions).index(action)), reasons)
        yield Meaning(template.name, **drawn)


def _habits(options: tuple[str, ...], index: int) -> tuple[str, ...]:
    """Choose two options as a habit: each agent prefers two of the times, each action two of the reasons."""
    return options[index % len(options)], options[(index + 1) % len(options)]
