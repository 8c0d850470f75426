"""Spoken pairs measured: the report, its floor, its views, and a monitor along a run."""

import numpy as np
import pytest
import torch
from rich.console import Console

from tests.tiny import make_model, make_tokenizer
from tests.tiny_speech import make_audio_pairs, make_speech_model, noise
from xalign import AlignmentMonitor, AlignmentReport, Audio, load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, PairsError
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.weak_alignment import weak_alignment
from xalign.model.log_mel import log_mel_means

METRICS = ("nasca", "navca", "mexa", "retrieval", "margin")
PAIRS = make_audio_pairs()


@pytest.fixture(scope="module", params=["wav2vec2", "whisper"])
def measured(request):
    model, extractor = make_speech_model(request.param)
    return model, extractor, measure(model, extractor, PAIRS, METRICS, pool="mean")


def test_every_metric_is_measured(measured):
    _, _, report = measured
    assert report.measured == list(METRICS)
    assert report.per_sentence("nasca", "deu_Latn", 0).shape == (6,)
    assert 0 <= report.score("mexa") <= 1
    assert report.stats["fra_Latn"].seconds_per_sentence == pytest.approx(1.05)
    assert report.stats["fra_Latn"].unknown_share == 0
    assert 51 <= report.stats["fra_Latn"].tokens_per_sentence <= 53, "50 frames a second"


def test_states_are_those_of_the_models_own_forward(measured):
    """MEXA of the last layer, from the model's own output and its own mask."""
    model, extractor, report = measured
    is_whisper = hasattr(extractor, "n_fft")
    means = []
    for side in (PAIRS["deu_Latn"].pivot_sentences, PAIRS["deu_Latn"].sentences):
        states = []
        for audio in side:
            given = extractor(
                audio.samples, sampling_rate=16_000, return_attention_mask=True, return_tensors="pt"
            )
            with torch.no_grad():
                found = model(**given).last_hidden_state[0]
            real = int(given.attention_mask[0, ::2].sum()) if is_whisper else len(found)
            states.append(found[:real].mean(0))
        means.append(torch.stack(states))
    expected = weak_alignment(cosine_matrix(*means))
    assert torch.equal(report.per_sentence("mexa", "deu_Latn", "final"), expected)


def test_the_floor_is_that_of_log_mel_means(measured):
    _, _, report = measured
    bitext = PAIRS["deu_Latn"]
    similarity = cosine_matrix(log_mel_means(bitext.pivot_sentences), log_mel_means(bitext.sentences))
    assert report.floor("nasca", "deu_Latn") == weak_alignment(similarity).double().mean()
    assert report.floor("nasca", "deu_Latn") > 0
    assert report.pairs.floor_name == "log-mel"


def test_log_mel_means_of_a_quieter_recording_are_lower_by_a_constant():
    recordings = [noise(1.0, seed) for seed in range(3)]
    rows = log_mel_means(recordings)
    assert rows.shape == (3, 80) and bool(rows.isfinite().all())
    quieter = log_mel_means([Audio(0.5 * one.samples, one.rate) for one in recordings])
    assert float((rows - quieter - 2 * np.log10(2)).abs().max()) < 1e-5
    assert log_mel_means([noise(0.001)]).isfinite().all(), "shorter than a window"


def test_a_report_keeps_digests_and_no_sound(measured, tmp_path):
    model, extractor, report = measured
    report.save(tmp_path / "report")
    size = sum(path.stat().st_size for path in (tmp_path / "report").iterdir())
    assert size < 60_000, "the sound alone has a megabyte"
    loaded = AlignmentReport.load(tmp_path / "report")
    assert loaded.summary() == report.summary() and loaded.stats == report.stats
    assert loaded.pairs.fingerprint == PAIRS.fingerprint and loaded.pairs.is_audio
    assert all(row["difference"] == 0 for row in loaded.compare(report))
    with pytest.raises(PairsError, match="a saved report keeps digests of recordings alone"):
        measure(model, extractor, loaded.pairs)


def test_the_views_name_floor_and_units(measured, tmp_path):
    _, _, report = measured
    console = Console(width=160)
    with console.capture() as captured:
        console.print(report.table())
    shown = captured.get()
    assert "frames seconds" in shown and "unknown " not in shown.splitlines()[2]
    assert "floor: what log-mel means alone give, with no model." in shown
    page = report.to_html(tmp_path / "page.html").read_text()
    assert "the log-mel floor, what log-mel means give with no model at all" in page
    assert "Audio(0.90 s at 16000 Hz)" in page
    pytest.importorskip("matplotlib")
    assert "log-mel floor" in report.figure("nasca").get_supxlabel()


def test_text_is_still_measured_against_shared_tokens():
    report = measure(make_model("llama"), make_tokenizer(), load_pairs("bundled", ["de"], n=6), ["nasca"])
    console = Console(width=160)
    with console.capture() as captured:
        console.print(report.table())
    assert "floor: what shared tokens alone give" in captured.get() and "tokens unknown" in captured.get()
    assert report.stats["deu_Latn"].seconds_per_sentence is None
    assert report.pairs.floor_name == "lexical"


def test_a_monitor_follows_a_speech_model(tmp_path):
    model, extractor = make_speech_model("wav2vec2")
    monitor = AlignmentMonitor(
        model, extractor, PAIRS, ["nasca", "mexa"], save_dir=tmp_path / "run", pool="mean"
    )
    monitor.step(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.7)
    report = monitor.step(1)
    assert [one.step for one in monitor.reports] == [0, 1]
    assert report.score("mexa") >= 0
    assert len(monitor.history.steps) == 2


@pytest.mark.parametrize(
    ("family", "given", "pairs", "error", "message"),
    [
        ("whisper", "tokenizer", PAIRS, ArgumentTypeError, "recordings need the model's feature extractor"),
        ("whisper", "extractor", "bundled", ModelError, "text, and WhisperEncoder takes sound"),
        ("llama", "tokenizer", PAIRS, ModelError, "these pairs are recordings, and LlamaForCausalLM reads"),
        ("llama", "extractor", "bundled", ArgumentTypeError, "which is for sound"),
    ],
)
def test_text_and_sound_are_not_taken_for_one_another(family, given, pairs, error, message):
    model, extractor = make_speech_model("whisper")
    model = make_model("llama") if family == "llama" else model
    with pytest.raises(error, match=message):
        measure(model, extractor if given == "extractor" else make_tokenizer(), pairs, ["mexa"])


def test_a_template_is_refused():
    with pytest.raises(ArgumentError, match="template is for text"):
        measure(*make_speech_model("whisper"), PAIRS, template="query: {text}")
