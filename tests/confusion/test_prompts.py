"""Files of prompts and answers: what is read, and which line is at fault."""

import json

import pytest

from xalign.confusion import Answer, Prompt, read_answers, read_prompts
from xalign.errors import ArgumentError, ArgumentTypeError


def written(tmp_path, text):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_both_spellings_of_a_file_are_read(tmp_path):
    rows = [
        {"prompt": "Wie geht es?", "language": "de"},
        {"prompt": "¿Qué tal?", "target": "spa_Latn", "source": "aya", "idx": 3, "setting": "monolingual"},
    ]
    text = "\n\n".join(map(json.dumps, rows)) + "\r\n"
    assert read_prompts(written(tmp_path, text)) == [
        Prompt("Wie geht es?", "deu_Latn"),
        Prompt("¿Qué tal?", "spa_Latn", "aya"),
    ]
    rows = [{"answer": "Gut.", "language": "de"}, {"completion": "", "target": "es", "source": "x"}]
    found = read_answers(written(tmp_path, "\n".join(map(json.dumps, rows))))
    assert found == [Answer("Gut.", "deu_Latn"), Answer("", "spa_Latn", "x")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; it needs a JSON object"),
        ("\n \n", "is empty"),
        ('{"answer": "a", "language": "de"}\n{"answer": "b"', "line 2 of .*: it is no JSON"),
        ('{"language": "de"}', "line 1 of .*: it has no 'answer'; it has 'language'"),
        ('{"answer": null, "language": "de"}', "line 1 of .*: it has no 'answer'"),
        ('{"answer": 3, "language": "de"}', "line 1 of .*: text=3 must be text"),
        ('\n{"answer": "a"}', "line 2 of .*: it has no 'language'"),
        ('{"answer": "a", "language": "zh"}', "line 1 of .*: language code 'zh' is ambiguous"),
        ('{"answer": "a", "language": 1}', "line 1 of .*: language code must be a string"),
        ('{"answer": "a", "language": "de", "source": 1}', "line 1 of .*: source=1 must be text"),
        ("[1]", "line 1 of .*: it is list, not an object"),
        (b'{"answer": "\xff", "language": "de"}', "line 1 of .*: its text is no UTF-8"),
    ],
)
def test_a_bad_line_is_named(text, message, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        read_answers(written(tmp_path, text))


def test_prompts_need_text(tmp_path):
    with pytest.raises(ArgumentError, match="line 1 of .*: text is empty"):
        read_prompts(written(tmp_path, '{"prompt": " ", "language": "de"}'))
    with pytest.raises(ArgumentError, match="does not exist; give a .jsonl file"):
        read_prompts(tmp_path / "nowhere.jsonl")
    with pytest.raises(ArgumentError, match="is no regular file"):
        read_prompts(tmp_path)
    with pytest.raises(ArgumentTypeError, match="text=None"):
        Prompt(None, "de")


@pytest.mark.realdata
def test_the_benchmark_is_read(real_text):
    folder = real_text / "language_confusion"
    prompts = [one for file in sorted(folder.glob("prompts_*")) for one in read_prompts(file)]
    assert len(prompts) == 1750
    assert {one.source for one in prompts} == {"aya", "dolly", "native", "complex_prompts"}
    assert len(read_answers(folder / "completions_mistral-8x7b.jsonl")) == 336
