"""A run that is simulated: what alignment gains and wears off, and what is forgotten, in a few lines."""

import random
from dataclasses import dataclass

from xalign.control.signals import Estimate, Signals

CODES = ("deu_Latn", "rus_Cyrl", "spa_Latn", "zho_Hans")


@dataclass
class Plant:
    """A simulated run.

    Args:
        start: The first score of every language.
        gain: Language -> what a step at full duty closes of the gap to 1.
        wear: What a step without alignment loses of what was gained.
        noise: Standard deviation of a measured score.
        forgets: What a step at full weight and duty, without replay, adds to the guarded loss.
        seed: Of the noise.
    """

    start: float = 0.2
    gain: float | dict[str, float] = 0.02
    wear: float = 0.01
    noise: float = 0.02
    forgets: float = 0.0005
    transient: float = 0.02
    every: int = 25
    max_steps: int = 500
    pairs_per_step: int = 32
    documents: int = 8
    seed: int = 0
    codes: tuple[str, ...] = CODES

    def rate(self, step):
        return min(1.0, (step + 1) / 25) * max(0.0, 1 - step / self.max_steps)

    def run(self, controller, looks=None):
        """Return signals and decisions of a run under a controller."""
        noise = random.Random(f"plant {self.seed}")
        gains = self.gain if isinstance(self.gain, dict) else dict.fromkeys(self.codes, self.gain)
        scores = dict.fromkeys(self.codes, self.start)
        pairs, replayed, lasting = dict.fromkeys(self.codes, 0), 0, 0.0
        signals, decisions = [], []
        steps = self.max_steps if looks is None else looks * self.every
        for step in range(0, steps + 1):
            if step % self.every == 0:
                signals.append(self._look(step, scores, pairs, replayed, lasting, noise))
                decisions.append(controller.decide(signals, decisions))
            now = decisions[-1]
            shares = now.shares or dict.fromkeys(self.codes, 1 / len(self.codes))
            for code in self.codes:
                if now.aligns_at(step):
                    part = shares[code] * len(self.codes) * now.weight
                    scores[code] += gains[code] * part * (1 - scores[code])
                    pairs[code] += round(self.pairs_per_step * shares[code])
                else:
                    scores[code] -= self.wear * (scores[code] - self.start)
            aligned = self.forgets * now.weight * now.aligns_at(step)
            lasting += self.rate(step) * (
                aligned - 0.8 * self.forgets * (now.replays_at(step) and self.documents > 0) * (lasting > 0)
            )
            replayed += self.documents * now.replays_at(step)
        return signals, decisions

    def _look(self, step, scores, pairs, replayed, lasting, noise):
        def measured(score):
            value = min(1.0, max(0.0, score + noise.gauss(0, self.noise)))
            half = max(0.04, 2 * self.noise)
            return Estimate(value, value - half, min(1.0, value + half))

        forgotten = lasting + self.transient * self.rate(step) * (step > 0)
        return Signals(
            step=step,
            max_steps=self.max_steps,
            alignment={code: measured(score) for code, score in scores.items()},
            guard={"eng_Latn": 2.0 * (1 + forgotten)},
            learning_rate=self.rate(step),
            pairs=dict(pairs),
            replayed=replayed,
        )


def still(level, noise=0.02, looks=20, seed=0, codes=CODES):
    """Signals of a run in which nothing changes but the noise."""
    plant = Plant(noise=noise, seed=seed, codes=codes)
    draw = random.Random(f"still {seed}")
    return [
        plant._look(25 * number, dict.fromkeys(codes, 0.2 if not number else level), {}, 0, 0.0, draw)
        for number in range(looks)
    ]


def on_its_way(target, ahead, noise=0.02, looks=20, seed=0):
    """Signals of a run whose scores go on a straight line to a target at 60 % of it, or so much above it."""
    plant, draw = Plant(noise=noise, seed=seed, max_steps=25 * looks), random.Random(f"way {seed}")
    lines = [plant.start + (target - plant.start) * min(1.0, n / looks / 0.6) for n in range(looks)]
    return [
        plant._look(25 * n, dict.fromkeys(CODES, line + ahead if n else line), {}, 0, 0.0, draw)
        for n, line in enumerate(lines)
    ]
