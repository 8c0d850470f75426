"""Bring a LoRA that answers in English back to the language of its prompt, seven ways beside random controls.

    OMP_NUM_THREADS=1 python benchmarks/confusion.py runs/confusion             # about 3 CPU-minutes a seed
    python benchmarks/confusion.py runs/confusion --table

Babel's aligned model is taught facts by a LoRA whose answers are in English (see confusion_lora.py). Each way
is found with some prompts, its setting is chosen for each language with others, and it is judged with a third
part, beside random controls of the same size. The best way of a seed is the one that does best on the prompts
to choose with. A way that knows the language of a prompt acts on prompts in that language only, so that
English prompts stay as they are; the editing of neurons acts on every prompt, and so on English ones too.

Writes SEED.json for each seed, from which a second call goes on, and confusion_babel.json of all.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from confusion_lora import ENGLISH, OTHERS, Task, taught
from confusion_ways import WAYS, Finding
from rich.console import Console
from rich.table import Table

from xalign.babel import load_babel, write_pairs
from xalign.babel.lexicon import load_lexicon
from xalign.babel.templates import function_words
from xalign.babel.tokenizer import SEPARATOR
from xalign.confusion import compare_answers
from xalign.judging import LanguageIdentifier
from xalign.judging.sample import continue_each
from xalign.statistics.intervals import seed_interval
from xalign.steering.steer import steer

COUNTS = (24, 24, 48)  # pairs of agents to find with, to choose with and to judge with
STEPS, TOKENS, LEAST, RANDOM_SETS = 250, 16, 3, 2


VOCABULARY = {code: words | function_words()[code] for code, words in load_lexicon().words().items()}


class Judge:
    """Answers to prompts, and what they are worth."""

    def __init__(self, tokenizer, identify):
        self._tokenizer, self._identify = tokenizer, identify
        ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(SEPARATOR)]
        self._generation = {"do_sample": False, "max_new_tokens": TOKENS, "eos_token_id": ends}

    def answers(self, model, prompts):
        """Return greedy answers."""
        texts = [one.text for one in prompts]
        found = continue_each(
            model, self._tokenizer, texts, generation=self._generation, batch_size=len(texts)
        )
        return [one.texts[0] for one in found]

    def compare(self, prompts, before, after):
        """Return both sides; a line counts from 3 of Babel's words on, because its sentences are short."""
        tokens = lambda line, _: self._tokenizer.tokenize(line)  # noqa: E731
        return compare_answers(prompts, before, after, self._identify, tokens=tokens, least=LEAST)

    def sound(self, prompts, answers):
        """Return per answer whether it passes, holds no word of another language, and ends as a sentence."""
        judged = self.compare(prompts, answers, answers).after.judged
        return [
            one.passes and answer.strip()[-1:] in tuple(".。") and not self._foreign(answer, prompt.language)
            for one, prompt, answer in zip(judged, prompts, answers, strict=True)
        ]

    def _foreign(self, answer, language):
        """Return the words of an answer that other languages of Babel have, and its own does not."""
        words = {one.lstrip("▁") for one in self._tokenizer.tokenize(answer)}
        others = set().union(*(words_of for code, words_of in VOCABULARY.items() if code != language))
        return words & (others - VOCABULARY[language])


def run(seed):
    """Return what came of a seed."""
    started = time.process_time()
    base, tokenizer = load_babel("aligned")
    confused, _ = load_babel("aligned")
    task = Task(seed, COUNTS)
    confused = taught(confused, tokenizer, task, seed, STEPS)
    judge = Judge(tokenizer, LanguageIdentifier(write_pairs(400, 1, "train").texts))
    prompts = [{code: task.prompts(part, code) for code in [ENGLISH, *OTHERS]} for part in task.parts]
    answered = [{code: judge.answers(confused, part[code]) for code in part} for part in prompts]
    finding = Finding(confused, base, tokenizer, prompts[0], judge)
    result = {"seed": seed, "lora": {}, "rows": []}
    for code in [ENGLISH, *OTHERS]:
        asked, said = prompts[2][code], answered[2][code]
        first = judge.answers(base, asked)
        both = judge.compare(asked, first, said)
        result["lora"][code] = {
            "lpr_without_lora": both.change(code).before,
            "lpr": both.change(code).after,
            "english": float(np.mean([judge._identify(one) == ENGLISH for one in said])),
            "task_without_lora": share(task, 2, first),
            "task": share(task, 2, said),
            "prompts": [one.text for one in asked],
            "answers": said,
            "answers_without_lora": first,
            "sound_without_lora": float(np.mean(judge.sound(asked, first))),
        }
    shown = {
        code: (one["english"], one["task"], one["sound_without_lora"]) for code, one in result["lora"].items()
    }
    print(f"seed {seed}: {shown}, {time.process_time() - started:.0f} CPU-seconds", flush=True)
    for way in WAYS:
        for row in tried(way, finding, confused, judge, task, prompts, answered, seed):
            result["rows"].append(row)
            print(said_of(row), flush=True)
    result["cpu_seconds"] = time.process_time() - started
    return result


def share(task, part, answers):
    """Return the share of answers of a part that know the fact about their agent."""
    return float(
        np.mean([task.knows(one, pair) for one, pair in zip(answers, task.parts[part], strict=True)])
    )


def tried(way, finding, confused, judge, task, prompts, answered, seed):
    """Yield a row for each language, of a way and of its random controls, with the setting chosen before."""
    settings = list(way.settings(finding))
    found = {setting[:-1]: way.make(finding, setting) for setting in settings}  # strengths share an edit
    made = [(setting, found[setting[:-1]]) for setting in settings]
    for code in OTHERS:
        scores = []
        for setting, edits in made:
            with steer(confused, edits[code], **way.how(setting)):
                scores.append(
                    float(np.mean(judge.sound(prompts[1][code], judge.answers(confused, prompts[1][code]))))
                )
        best = int(np.argmax(scores))
        setting, edits = made[best]
        for number in range(-1, RANDOM_SETS):
            edit = (
                edits[code] if number < 0 else way.random(confused, edits[code], seed * RANDOM_SETS + number)
            )
            with steer(confused, edit, **way.how(setting)):
                said = judge.answers(confused, prompts[2][code])
                english = None
                if way.is_everywhere:
                    english = share(task, 2, judge.answers(confused, prompts[2][ENGLISH]))
            both = judge.compare(prompts[2][code], answered[2][code], said)
            change = both.change(code)
            yield {
                **{"way": way.name, "arm": "own" if number < 0 else "random", "number": max(0, number)},
                **{"language": code, "setting": str(setting), "chosen_with": scores[best]},
                **{"before": change.before, "after": change.after, "low": change.low, "high": change.high},
                "passes_before": [one.passes for one in both.before.judged],
                "passes_after": [one.passes for one in both.after.judged],
                "sound": float(np.mean(judge.sound(prompts[2][code], said))),
                "task_here": share(task, 2, said),
                "task_english": english,
                "answers": said,
            }


def said_of(row):
    """Say a row in a line."""
    task = "" if row["task_english"] is None else f", own task {row['task_english']:.2f}"
    return (
        f"  {row['way']:30} {row['arm']:6} {row['language']} {row['before']:.2f} → {row['after']:.2f}, "
        f"sound {row['sound']:.2f}, facts {row['task_here']:.2f}{task} ({row['setting']})"
    )


def interval(results, way, code, arm="own"):
    """Return the mean change of the pass rate over seeds, and a 95 % interval over prompts of all seeds."""
    rows = [
        row
        for one in results
        for row in one["rows"]
        if (row["way"], row["language"], row["arm"])
        == (way if isinstance(way, str) else way[one["seed"]], code, arm)
    ]
    differences = [np.subtract(row["passes_after"], row["passes_before"], dtype=float) for row in rows]
    draw = np.random.default_rng(0)
    means = [
        np.mean([one[draw.integers(0, len(one), len(one))].mean() for one in differences])
        for _ in range(2000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([one.mean() for one in differences])), float(low), float(high), rows


def best_of(results):
    """Return seed -> the way that did best on the prompts to choose with."""
    best = {}
    for one in results:
        own = [row for row in one["rows"] if row["arm"] == "own"]
        names = dict.fromkeys(row["way"] for row in own)
        scores = {name: np.mean([row["chosen_with"] for row in own if row["way"] == name]) for name in names}
        best[one["seed"]] = max(scores, key=scores.__getitem__)
    return best


def table_of(results):
    """Return what each way did, as a table of rich."""
    table = Table(title=f"{len(results)} seeds; change of the line pass rate, [95 % over prompts]", box=None)
    for column in ("way", *OTHERS, "mean", "over seeds", "random", "sound", "facts here", "own task kept"):
        table.add_column(column)
    best = best_of(results)
    for name, way in [("best by choice", best), *((one.name, one.name) for one in WAYS)]:
        found = [interval(results, way, code) for code in OTHERS]
        rows = [row for one in found for row in one[3]]
        random = np.mean([interval(results, way, code, "random")[0] for code in OTHERS])
        own = [
            np.mean([row["after"] - row["before"] for row in rows if row in one["rows"]]) for one in results
        ]
        low, high = seed_interval(own) if len(own) > 1 else (own[0], own[0])
        kept = []
        for one in results:
            mine = [
                row["task_english"] for row in rows if row in one["rows"] and row["task_english"] is not None
            ]
            kept += [np.mean(mine) / one["lora"][ENGLISH]["task"]] if mine else [1.0]
        table.add_row(
            name,
            *[f"{mean:+.2f} [{a:+.2f}, {b:+.2f}]" for mean, a, b, _ in found],
            f"{np.mean([one[0] for one in found]):+.2f}",
            f"{np.mean(own):+.2f} [{low:+.2f}, {high:+.2f}]",
            f"{random:+.2f}",
            f"{np.mean([row['sound'] for row in rows]):.2f}",
            f"{np.mean([row['task_here'] for row in rows]):.2f}",
            f"{np.mean(kept):.2f}",
        )
    return table


def compact(result):
    """Return a result without texts, and with a digit per answer."""
    texts = ("answers", "answers_without_lora", "prompts")
    short = {
        "lora": {
            code: {k: v for k, v in one.items() if k not in texts} for code, one in result["lora"].items()
        }
    }
    rows = [{k: v for k, v in row.items() if k not in texts} for row in result["rows"]]
    for row in rows:
        for side in ("passes_before", "passes_after"):
            row[side] = "".join(str(int(one)) for one in row[side])
    return result | short | {"rows": rows}


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for results")
parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
parser.add_argument("--table", action="store_true", help="only show what there is")
arguments = parser.parse_args()
torch.set_num_threads(1)
arguments.out.mkdir(parents=True, exist_ok=True)
for seed in [] if arguments.table else arguments.seeds:
    file = arguments.out / f"{seed}.json"
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_text(json.dumps(run(seed), ensure_ascii=False), encoding="utf-8")
        part.replace(file)
there = [arguments.out / f"{seed}.json" for seed in arguments.seeds]
results = [json.loads(file.read_text(encoding="utf-8")) for file in there if file.exists()]
if results:
    print("best by choice:", best_of(results))
    for name in ("english", "lpr_without_lora", "sound_without_lora", "lpr", "task"):
        means = {code: np.mean([one["lora"][code][name] for one in results]) for code in results[0]["lora"]}
        print(f"{name}: " + ", ".join(f"{code} {value:.2f}" for code, value in means.items()))
    Console(width=210).print(table_of(results))
    text = json.dumps([compact(one) for one in results], ensure_ascii=False)
    (arguments.out / "confusion_babel.json").write_text(text + "\n", encoding="utf-8")
