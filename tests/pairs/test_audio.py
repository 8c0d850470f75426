"""Parallel speech: recordings as items of pairs, from arrays, folders and datasets."""

import io

import numpy as np
import pytest
from scipy.io import wavfile

from xalign import Audio, ParallelPairs, load_pairs, pairs_from_dataset
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError

RATE = 16_000
CODES = ("eng_Latn", "deu_Latn", "fra_Latn")


def tone(height, seconds=0.1, rate=RATE):
    return np.sin(2 * np.pi * height * np.arange(int(rate * seconds)) / rate)


def sides(n=4, codes=CODES):
    return {
        code: [Audio(0.5 * tone(300 + 10 * row + 100 * place), RATE) for row in range(n)]
        for place, code in enumerate(codes)
    }


@pytest.fixture
def folder(tmp_path):
    """Recordings 2 and 10 of three languages, each in samples of another type."""
    for place, code in enumerate(CODES):
        (tmp_path / "speech" / code).mkdir(parents=True)
        for name in ("2", "10"):
            samples = 0.5 * tone(300 + int(name) + 100 * place)
            if place < 2:
                samples = (samples * 2 ** (15 + 16 * place)).astype((np.int16, np.int32)[place])
            wavfile.write(tmp_path / "speech" / code / f"{name}.wav", RATE, samples)
    return tmp_path / "speech"


def test_a_recording_is_its_samples_and_its_rate():
    samples = tone(440)
    audio = Audio(samples, RATE)
    assert audio == Audio(samples.astype(np.float32), RATE) and hash(audio) == hash(Audio(samples, RATE))
    assert audio != Audio(samples, 2 * RATE) and audio != Audio(samples[:-1], RATE) and audio != "audio"
    assert audio.seconds == 0.1 and audio.samples.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        audio.samples[0] = 1
    samples[:] = 0
    assert audio.samples.any(), "it holds its own copy"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float64, np.float32])
def test_samples_of_files_become_floats_from_minus_one_to_one(dtype):
    floats = tone(440)
    if np.issubdtype(dtype, np.floating):
        samples, step = floats.astype(dtype), 0
    else:
        half = 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
        samples = (floats * (half - 1) + (128 if dtype == np.uint8 else 0)).astype(dtype)
        step = 2 / half
    assert np.abs(Audio(samples, RATE).samples - floats).max() <= step + 1e-6


def test_another_rate_keeps_the_pitch():
    audio = Audio(tone(440, 1.0, 44_100), 44_100)
    samples = audio.at(RATE)
    assert len(samples) == RATE and np.abs(np.fft.rfft(samples)).argmax() == 440
    assert np.abs(samples[200:-200] - tone(440, 1.0)[200:-200]).max() < 0.01
    assert audio.at(44_100) is audio.samples or np.array_equal(audio.at(44_100), audio.samples)


@pytest.mark.parametrize(
    ("samples", "rate", "error", "message"),
    [
        (np.zeros(0), RATE, ArgumentError, "samples is empty"),
        (np.zeros((100, 2)), RATE, ArgumentError, r"not of one channel: choose one, like samples\[:, 0\]"),
        (np.array([0.0, np.nan]), RATE, ArgumentError, r"samples\[1\] is nan"),
        (np.array([np.inf, 0.0]), RATE, ArgumentError, r"samples\[0\] is inf"),
        (np.array([0.0, 20_000.0]), RATE, ArgumentError, "divide those of a 16-bit file by 32768"),
        (np.array(["a"]), RATE, ArgumentTypeError, "must be floats from -1 to 1"),
        (np.zeros(5, np.int64), RATE, ArgumentTypeError, "samples of int64"),
        (np.zeros(5, complex), RATE, ArgumentTypeError, "samples of complex128"),
        ([[0.0], [0.0, 1.0]], RATE, ArgumentTypeError, "must be an array of numbers"),
        (np.zeros(100), 16, ArgumentError, "rate=16 must be samples per second"),
        (np.zeros(100), 0, ArgumentError, "rate=0"),
        (np.zeros(100), None, ArgumentTypeError, "rate=None must be a whole number"),
        (np.zeros(100), 16_000.0, ArgumentTypeError, "rate=16000.0 must be a whole number"),
    ],
)
def test_what_is_no_recording_is_refused(samples, rate, error, message):
    with pytest.raises(error, match=message):
        Audio(samples, rate)


def test_one_channel_in_two_dimensions_is_one_channel():
    samples = tone(440)
    assert Audio(samples[None], RATE) == Audio(samples[:, None], RATE) == Audio(samples, RATE)


def test_pairs_of_recordings_do_what_pairs_of_sentences_do():
    pairs = ParallelPairs(sides(8), ids=list("abcdefgh"))
    assert pairs.is_audio and pairs.is_multiway and pairs.floor_name == "log-mel"
    assert not load_pairs("bundled", ["de"]).is_audio
    assert pairs.only(["de"]).languages == ["deu_Latn"]
    assert pairs.first(3)["fra_Latn"].ids == ("a", "b", "c")
    assert len(pairs.sample(3, seed=0)["fra_Latn"]) == 3
    one, other = pairs.split(0.5, seed=0)
    assert one.overlap(other) == {}
    assert pairs.overlap(one)["deu_Latn"] == list(one["deu_Latn"].sentences)
    mispaired = pairs.shuffled(0)["deu_Latn"]
    assert all(mine != its for mine, its in zip(mispaired.sentences, pairs["de"].sentences, strict=True))
    assert set(pairs.texts) == set(CODES)


def test_the_fingerprint_is_that_of_the_samples():
    pairs = ParallelPairs(sides())
    assert pairs.fingerprint == ParallelPairs(sides()).fingerprint
    other = sides()
    other["deu_Latn"][2] = Audio(0.49 * tone(420), RATE)
    assert ParallelPairs(other).fingerprint != pairs.fingerprint
    digests = {code: [one.digest for one in side] for code, side in sides().items()}
    assert ParallelPairs(digests).fingerprint != pairs.fingerprint, "text is never taken for sound"


def test_equal_recordings_are_duplicates():
    given = sides()
    given["deu_Latn"][3] = given["deu_Latn"][0]
    with pytest.warns(UserWarning, match=r"repeated sentences \(deu_Latn 1\)"):
        pairs = ParallelPairs(given)
    assert pairs.without_duplicates().counts == {"deu_Latn": 3, "fra_Latn": 3}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda given: given.update(deu_Latn=["a", "b", "c", "d"]),
            PairsError,
            "spoken and deu_Latn is writ",
        ),
        (
            lambda given: given.update(eng_Latn=["a", "b", "c", "d"]),
            PairsError,
            "two encoders share no layers",
        ),
        (lambda given: given["deu_Latn"].pop(), PairsError, "deu_Latn has 3 sentences and its pivot"),
        (
            lambda given: given.update(deu_Latn=[*given["deu_Latn"][:3], "d"]),
            ArgumentTypeError,
            "entry 3 must",
        ),
        (
            lambda given: given.update(deu_Latn=[tone(1)] * 4),
            ArgumentTypeError,
            r"not ndarray; of samples make an Audio\(samples, rate\)",
        ),
    ],
)
def test_sides_that_do_not_fit_are_refused(change, error, message):
    given = sides()
    change(given)
    with pytest.raises(error, match=message):
        ParallelPairs(given)


def test_what_is_saved_holds_no_samples():
    pairs = ParallelPairs(sides())
    saved = pairs.to_dict()
    assert saved["bitexts"][0]["sentences"][0] == {
        "sha256": pairs["deu_Latn"].sentences[0].digest,
        "rate": RATE,
        "seconds": 0.1,
    }
    again = ParallelPairs.from_dict(saved)
    assert again.fingerprint == pairs.fingerprint and again["deu_Latn"] == pairs["deu_Latn"]
    with pytest.raises(PairsError, match="a saved report keeps digests of recordings alone"):
        _ = again["deu_Latn"].sentences[0].samples


@pytest.mark.parametrize(
    "item", [{"sha256": "0" * 64}, {"sha256": "0", "rate": 1, "seconds": 1.0}, 3, {"samples": []}]
)
def test_what_is_saved_is_checked(item):
    saved = ParallelPairs(sides()).to_dict()
    saved["bitexts"][0]["sentences"][1] = item
    with pytest.raises(ArgumentError):
        ParallelPairs.from_dict(saved)


def test_a_folder_of_recordings(folder):
    pairs = load_pairs(folder)
    assert pairs.is_audio and pairs.languages == ["deu_Latn", "fra_Latn"] and pairs.source == "speech"
    assert pairs["deu_Latn"].ids == ("2", "10"), "numbers by value"
    german = pairs["deu_Latn"].sentences[1]
    assert np.abs(german.samples - 0.5 * tone(410)).max() < 1e-6
    assert load_pairs(folder, ["fr"]).languages == ["fra_Latn"]
    (folder / "deu_Latn" / "11.wav").write_bytes((folder / "deu_Latn" / "2.wav").read_bytes())
    assert load_pairs(folder, ["fr"], n=2).counts == {"fra_Latn": 2}


def test_a_file_that_changes_is_not_measured(folder):
    audio = load_pairs(folder)["deu_Latn"].sentences[0]
    wavfile.write(folder / "deu_Latn" / "2.wav", RATE, tone(99))
    with pytest.raises(PairsError, match=r"2\.wav has changed since it was loaded"):
        _ = audio.samples


def stereo(path):
    wavfile.write(path, RATE, np.zeros((100, 2), np.int16))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "deu_Latn" / "2.wav").unlink(), r"deu_Latn lacks 1 recording.*: 2; add"),
        (lambda folder: (folder / "eng_Latn" / "2.wav").unlink(), r"eng_Latn lacks 1 recording.*: 2; add"),
        (lambda folder: stereo(folder / "deu_Latn" / "2.wav"), r"2\.wav: .* not of one channel"),
        (lambda folder: (folder / "deu_Latn" / "2.wav").write_bytes(b"ID3"), r"2\.wav is no WAV file"),
        (lambda folder: (folder / "deu_Latn" / "3.mp3").write_bytes(b""), r"\.mp3 files, and only WAV"),
        (
            lambda folder: (folder / "eng_Latn").rename(folder / "spa_Latn"),
            "no folder for the pivot eng_Latn",
        ),
        (lambda folder: (folder / "de").mkdir() or stereo(folder / "de" / "2.wav"), "are both deu_Latn"),
        (
            lambda folder: wavfile.write(folder / "deu_Latn" / "2.wav", RATE, np.array([np.nan])),
            r"2\.wav: samples\[0\] is nan",
        ),
        (
            lambda folder: wavfile.write(folder / "deu_Latn" / "2.wav", RATE, np.zeros(0, np.int16)),
            r"2\.wav: samples is empty|2\.wav is no WAV file",
        ),
    ],
)
def test_broken_folders(folder, break_it, message):
    break_it(folder)
    with pytest.raises(PairsError, match=message):
        load_pairs(folder)
    with pytest.raises(PairsError, match="n=3 is more than the 2 recordings|" + message):
        load_pairs(folder, n=3)


def wav_bytes(samples):
    file = io.BytesIO()
    wavfile.write(file, RATE, samples.astype(np.float32))
    return file.getvalue()


def test_columns_of_a_dataset():
    datasets = pytest.importorskip("datasets")
    rows = [
        {"id": f"s{row}", "en": wav_bytes(tone(row + 1)), "de": wav_bytes(tone(row + 9))} for row in (1, 2)
    ]
    plain = datasets.Dataset.from_list(
        [
            {**row, "en": {"bytes": row["en"], "path": None}, "de": {"bytes": row["de"], "path": None}}
            for row in rows
        ]
    )
    audio = datasets.Audio(decode=False)
    dataset = plain.cast_column("en", audio).cast_column("de", audio)
    pairs = pairs_from_dataset(dataset, {"en": "en", "de": "de"}, id_column="id")
    assert pairs["deu_Latn"].ids == ("s1", "s2")
    assert np.allclose(pairs["deu_Latn"].sentences[1].samples, tone(11), atol=1e-6)


class Decoder:
    """What torchcodec gives of a recording."""

    def __init__(self, samples):
        self.data, self.sample_rate = np.asarray(samples), RATE

    def get_all_samples(self):
        return self


def test_decoded_columns():
    rows = [
        {"en": Decoder(tone(row)[None]), "de": {"array": tone(row + 9), "sampling_rate": RATE}}
        for row in (1, 2)
    ]
    pairs = pairs_from_dataset(rows, {"en": "en", "de": "de"})
    assert pairs["de"].pivot_sentences[0] == Audio(tone(1), RATE)
    assert pairs["de"].sentences[1] == Audio(tone(11), RATE)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (Decoder(np.zeros((2, 50))), ArgumentError, r"row 0 of column 'de': samples of shape \(50, 2\)"),
        ("a.wav", ArgumentTypeError, "of type str is no audio; cast the column"),
        ({"array": tone(1), "sampling_rate": None}, ArgumentTypeError, "rate=None"),
        ({"bytes": b"ID3"}, PairsError, "row 0 of column 'de': the recording is no WAV file"),
    ],
)
def test_columns_that_are_refused(value, error, message):
    rows = [{"en": Decoder(tone(row)), "de": value} for row in (1, 2)]
    with pytest.raises(error, match=message):
        pairs_from_dataset(rows, {"en": "en", "de": "de"})
    with pytest.raises(ArgumentError, match="no column 'fr'; it has en, de"):
        pairs_from_dataset(rows, {"en": "en", "fr": "fr"})
