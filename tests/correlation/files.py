"""One results file of each format, made by hand after what the programs write."""

import csv
import json

SCORES = {"deu_Latn": 0.62, "fra_Latn": 0.64, "rus_Cyrl": 0.5, "spa_Latn": 0.66, "zho_Hans": 0.41}


def lm_eval(folder, model="runs/tiny/checkpoint-200"):
    """As `lm_eval --output_path` of version 0.4 writes it."""
    results = {
        f"belebele_{code}": {
            "alias": f" - belebele_{code}",
            "acc,none": score,
            "acc_stderr,none": 0.01,
            "acc_norm,none": score + 0.02,
            "acc_norm_stderr,none": float("nan"),
        }
        for code, score in SCORES.items()
    }
    results |= {"belebele": {"acc,none": 0.6, "alias": "belebele"}, "hellaswag": {"acc,none": 0.7}}
    results["xquad_de"] = {"exact_match,none": 0.3, "f1,none": 0.4}
    content = {
        "results": results,
        "groups": {"belebele": {"acc,none": 0.6}},
        "configs": {name: {"task": name} for name in results},
        "n-samples": {name: {"original": 900, "effective": 900} for name in results},
        "config": {"model": "hf", "model_args": {"pretrained": model, "dtype": "bfloat16"}},
        "model_name": model,
    }
    return write(folder / "results_2026-01-02T03-04-05.json", content)


def lighteval(folder, model="HuggingFaceTB/tiny"):
    results = {
        f"lighteval|belebele_{code}_mcf|0": {"acc": score, "acc_stderr": 0.01}
        for code, score in SCORES.items()
    }
    results |= {"lighteval|global_mmlu_all_deu_mcf:astronomy|0": {"acc": 0.5}, "all": {"acc": 0.55}}
    content = {
        "config_general": {"lighteval_sha": "?", "model_name": model, "model_sha": "0"},
        "results": results,
        "versions": {},
        "config_tasks": {},
    }
    return write(folder / "results_lighteval.json", content)


def every_eval_ever(folder, model="HuggingFaceTB/tiny"):
    """A data set with a result per language, after the records of Global MMLU Lite."""
    names = {"deu_Latn": "German", "fra_Latn": "French", "rus_Cyrl": "Russian", "spa_Latn": "Spanish"}
    names |= {"zho_Hans": "Chinese", None: "Culturally Sensitive"}
    content = {
        "schema_version": "0.2.1",
        "evaluation_id": f"global-mmlu-lite/{model}/1770822797",
        "retrieved_timestamp": "1770822797",
        "source_metadata": {"source_type": "documentation", "evaluator_relationship": "third_party"},
        "eval_library": {"name": "unknown", "version": "unknown"},
        "model_info": {"name": "tiny", "id": model, "developer": "HuggingFaceTB"},
        "evaluation_results": [
            {
                "evaluation_name": name,
                "source_data": {"dataset_name": "global-mmlu-lite", "source_type": "url", "url": []},
                "metric_config": {"lower_is_better": False, "score_type": "continuous"},
                "score_details": {"score": SCORES.get(code, 0.5)},
            }
            for code, name in names.items()
        ],
    }
    return write(folder / "every.json", content)


def table(folder, **more):
    """A CSV; `more` are columns of which each cell is made from its language."""
    with open(folder / "scores.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "step", "task", "score", *more])
        for code, score in SCORES.items():
            writer.writerow(["tiny", 200, f"belebele_{code}", score, *(make(code) for make in more.values())])
    return folder / "scores.csv"


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
