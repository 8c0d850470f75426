"""States that are kept are those that would be read; what is not known, broken or full ends no run."""

import errno
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentReport, Site, load_pairs, measure, storage, visit
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.finding import language_means
from xalign.measurement import StateCache
from xalign.model import read

PAIRS = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=6)
METRICS = ("mexa", "nasca")


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def model():
    return make_model("llama")


@pytest.fixture
def forwards(monkeypatch):
    """Counts the batches that a model really runs."""
    ran = []
    inside = read._read_batch

    def counting(model, model_map, batch, readings):
        ran.append(readings)
        return inside(model, model_map, batch, readings)

    monkeypatch.setattr(read, "_read_batch", counting)
    return ran


def same(one, other):
    """Whether all values of two reports are equal to the bit."""
    rows = set(one.metrics) | set(other.metrics)
    return all(
        torch.equal(one.metrics[row].values[code], other.metrics[row].values[code])
        for row in rows
        for code in one.pairs
    )


def files(folder):
    return sorted(path for path in folder.iterdir() if path.name.startswith("states-"))


def test_the_same_again_runs_no_forward(model, tokenizer, tmp_path, forwards):
    plain = measure(model, tokenizer, PAIRS, METRICS)
    assert "cache" not in plain.provenance
    count = len(forwards)
    first = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path / "new" / "states")
    assert len(forwards) == 2 * count
    again = measure(model, tokenizer, PAIRS, METRICS, cache=str(tmp_path / "new" / "states"))
    assert len(forwards) == 2 * count
    assert same(first, plain)
    assert same(again, plain)
    assert first.cost.forwards == plain.cost.forwards == count
    assert (again.cost.forwards, again.cost.tokens) == (0, 0)
    states = 3 * (4 + 3)  # of three languages, four hidden states and three gates
    assert first.provenance["cache"] == {
        **{"states": states, "from_cache": 0, "forwards_spared": 0, "tokens_spared": 0}
    }
    assert again.provenance["cache"] == {
        **{"states": states, "from_cache": states},
        **{"forwards_spared": count, "tokens_spared": plain.cost.tokens},
    }
    assert json.dumps(again.provenance)
    again.save(tmp_path / "report")
    assert AlignmentReport.load(tmp_path / "report").cost == again.cost


def test_other_metrics_read_what_is_missing(model, tokenizer, tmp_path, forwards):
    measure(model, tokenizer, PAIRS, ["mexa"], cache=tmp_path)
    count = len(forwards)
    measure(model, tokenizer, PAIRS, ["retrieval"], cache=tmp_path)  # of the same states
    assert len(forwards) == count
    both = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert len(forwards) == 2 * count
    assert {reading.site.kind for reading in forwards[-1]} == {"gate"}
    assert both.provenance["cache"]["from_cache"] == 3 * 4
    assert same(both, measure(model, tokenizer, PAIRS, METRICS))


def test_another_language_runs_alone(model, tokenizer, tmp_path, forwards):
    measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    more = load_pairs("bundled", ["deu_Latn", "spa_Latn", "rus_Cyrl"], n=6)
    forwards.clear()
    report = measure(model, tokenizer, more, METRICS, cache=tmp_path)
    assert len(forwards) == report.cost.forwards == 1
    assert same(report, measure(model, tokenizer, more, METRICS))


def changed_weight(model):
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] += 1e-3


def changed_buffer(model):
    model.model.rotary_emb.inv_freq[1] *= 1.01


def changed_setting(model):
    model.model.layers[0].input_layernorm.variance_epsilon = 1e-2


def changed_config(model):
    model.set_attn_implementation("eager")


def changed_activation(model):
    model.model.layers[0].mlp.act_fn = torch.nn.GELU()


def changed_class(model):
    class Halved(type(model.model.norm)):
        def forward(self, states):
            return super().forward(states) / 2

    model.model.norm.__class__ = Halved


@pytest.mark.thorough
@pytest.mark.parametrize(
    "change",
    [
        *(changed_weight, changed_buffer, changed_setting, changed_config, changed_activation, changed_class),
        torch.nn.Module.bfloat16,
    ],
)
def test_a_model_that_differs_anywhere_is_another_one(model, tokenizer, tmp_path, forwards, change):
    measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    change(model)
    forwards.clear()
    report = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert len(forwards) == 3
    assert same(report, measure(model, tokenizer, PAIRS, METRICS))
    forwards.clear()
    measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert not forwards


def test_an_equal_model_is_the_same_one(model, tokenizer, tmp_path, forwards):
    for name in ("one", "other"):
        model.save_pretrained(tmp_path / name)
    loaded = [type(model).from_pretrained(tmp_path / name) for name in ("one", "other")]
    measure(loaded[0], tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert forwards
    forwards.clear()
    measure(loaded[1], tokenizer, PAIRS, METRICS, cache=tmp_path)
    measure(loaded[0].train(), tokenizer, PAIRS, METRICS, cache=tmp_path)
    loaded[0](torch.tensor([[1, 5, 6]]), output_hidden_states=True)
    layer = loaded[0].model.layers[0]
    assert layer._forward_hooks or "forward" in vars(layer)  # what transformers 5 leaves, and transformers 4
    measure(loaded[0], tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert not forwards


@pytest.mark.parametrize(
    "options",
    [{"template": "query: {text}"}, {"max_length": 5}, {"token_budget": 90}, {"pool": "mean"}],
    ids=str,
)
def test_what_changes_states_is_read_anew(model, tokenizer, tmp_path, options):
    before = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    report = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path, **options)
    assert report.provenance["cache"]["from_cache"] == 0
    assert same(report, measure(model, tokenizer, PAIRS, METRICS, **options))
    assert not options.keys() & {"template", "pool"} or not same(report, before)


def test_autocast_is_part_of_the_key(model, tokenizer, tmp_path, forwards):
    measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    forwards.clear()
    with torch.autocast("cpu", torch.bfloat16):
        measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert forwards


def test_what_is_subtracted_is_not_kept(model, tokenizer, tmp_path, forwards):
    means = language_means(model, tokenizer, PAIRS.texts)
    plain = measure(model, tokenizer, PAIRS, ["mexa"], cache=tmp_path)
    forwards.clear()
    report = measure(model, tokenizer, PAIRS, ["mexa"], cache=tmp_path, subtract=means)
    assert not forwards
    assert same(report, measure(model, tokenizer, PAIRS, ["mexa"], subtract=means))
    assert not same(report, plain)
    assert same(measure(model, tokenizer, PAIRS, ["mexa"], cache=tmp_path), plain)


def test_adapters_on_off_and_merged(model, tokenizer, tmp_path):
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(target_modules=["down_proj"], init_lora_weights=False))

    def check(expected):
        plain = measure(adapted, tokenizer, PAIRS, ["mexa"])
        kept = measure(adapted, tokenizer, PAIRS, ["mexa"], cache=tmp_path)
        assert same(plain, kept)
        assert bool(kept.provenance["cache"]["from_cache"]) is expected
        return plain

    on = check(False)
    with adapted.disable_adapter():
        assert not same(check(False), on)
        check(True)
    check(True)
    adapted.merge_adapter()
    check(False)


def doubled(values):
    return 2 * values


@contextmanager
def hooked(model):
    handle = model.model.layers[1].register_forward_hook(lambda module, given, output: doubled(output))
    yield
    handle.remove()


@contextmanager
def replaced(model):
    layer = model.model.layers[1].mlp
    layer.forward = lambda states, inside=layer.forward: doubled(inside(states))
    yield
    del layer.forward


def visited(model):
    return visit(model, {Site("hidden", 1): doubled})


@contextmanager
def on_all_modules(model):
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, given, output: None)
    yield
    handle.remove()


@contextmanager
def with_an_open_file(model):
    with open(os.devnull) as file:
        model.model.norm.file = file
        yield
        del model.model.norm.file


@pytest.mark.thorough
@pytest.mark.parametrize("change", [hooked, replaced, visited, on_all_modules, with_an_open_file])
def test_without_the_cache_where_no_key_holds_what_decides(model, tokenizer, tmp_path, change):
    before = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    with change(model):
        plain = measure(model, tokenizer, PAIRS, METRICS)
        with pytest.warns(UserWarning, match="measured without the cache: ") as said:
            report = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert len(said) == 1
    assert same(report, plain)
    assert same(report, before) is (change in (on_all_modules, with_an_open_file))
    assert report.provenance["cache"].keys() == {"without"}
    again = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert again.cost.forwards == 0
    assert same(again, before)


def test_special_weights_have_no_key(model, tokenizer, tmp_path):
    class Quantised(torch.nn.Parameter):
        pass

    norm = model.model.norm
    norm.weight = Quantised(norm.weight.data)
    with pytest.warns(UserWarning, match=r"model.norm.weight is no plain tensor but Quantised"):
        measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert not files(tmp_path)


def test_what_is_refused_before_any_forward(model, tokenizer, tmp_path, forwards):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArgumentError, match="cache='.*file' cannot be written: File exists; name a folder"):
        measure(model, tokenizer, PAIRS, cache=tmp_path / "file")
    with pytest.raises(ArgumentError, match="cache='/proc/states' cannot be written"):
        measure(model, tokenizer, PAIRS, cache="/proc/states")
    with pytest.raises(ArgumentTypeError, match="cache=3 must be a folder, or a StateCache"):
        measure(model, tokenizer, PAIRS, cache=3)
    with pytest.raises(ArgumentError, match="as steered= makes it; leave one out"):
        measure(model, tokenizer, PAIRS, cache=tmp_path, steered=lambda code: torch.no_grad())
    with pytest.raises(ArgumentError, match="most_bytes=0 must be at least 1"):
        StateCache(tmp_path, most_bytes=0)
    assert not forwards
    assert (tmp_path / "file").read_text() == "mine"


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def emptied(path):
    path.write_bytes(b"")


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def reshaped(path):
    states = load_file(path)["states"]
    metadata = json.loads(path.read_bytes()[8:].split(b'"states"')[0].rstrip(b",") + b"}")["__metadata__"]
    save_file({"states": states.reshape(states.shape[::-1])}, path, metadata)


def of_another(path):
    other = next(one for one in files(path.parent) if one.read_bytes() != path.read_bytes())
    path.write_bytes(other.read_bytes())


def without_metadata(path):
    save_file({"states": load_file(path)["states"]}, path)


@pytest.mark.thorough
@pytest.mark.parametrize("damage", [cut, emptied, one_bit, reshaped, of_another, without_metadata])
def test_broken_files_are_measured_anew_and_said_once(model, tokenizer, tmp_path, damage):
    plain = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    whole = {path: path.read_bytes() for path in files(tmp_path)}
    for path in files(tmp_path)[:3]:
        damage(path)
    with pytest.warns(UserWarning, match="some of the cache is broken and is measured anew") as said:
        report = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert len(said) == 1
    assert same(report, plain)
    assert report.provenance["cache"]["from_cache"] in (len(whole) - 3, len(whole) - 2)
    assert {path: path.read_bytes() for path in files(tmp_path)} == whole


def test_no_room_ends_nothing(model, tokenizer, tmp_path, monkeypatch):
    plain = measure(model, tokenizer, PAIRS, METRICS)

    def full(path, data, is_forced):
        path.write_bytes(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "_write", full)
    with pytest.warns(UserWarning, match="cannot keep what is read.*No space left on device") as said:
        report = measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert len(said) == 1
    assert same(report, plain)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_before_the_folder_is_made(tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert StateCache(tmp_path).get("0" * 64) is None


def test_a_folder_that_is_removed_meanwhile(model, tokenizer, tmp_path):
    cache = StateCache(tmp_path / "states")
    (tmp_path / "states").rmdir()
    with pytest.warns(UserWarning, match="cannot keep what is read") as said:
        measure(model, tokenizer, PAIRS, METRICS, cache=cache)
    assert len(said) == 1


def test_states_that_are_not_finite_are_not_kept(model, tokenizer, tmp_path):
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[:] = torch.inf
    with pytest.raises(ModelError, match="NaN or infinity"):
        measure(model, tokenizer, PAIRS, METRICS, cache=tmp_path)
    assert not files(tmp_path)


def key(number):
    return f"{number:064x}"


def test_what_was_used_the_longest_ago_goes_first(tmp_path):
    states = torch.ones(10, 100)
    (tmp_path / "mine.safetensors").write_bytes(bytes(10**6))
    StateCache(tmp_path).put(key(0), states)
    size = files(tmp_path)[0].stat().st_size
    cache = StateCache(tmp_path, most_bytes=3 * size)
    for number in range(3):
        cache.put(key(number), states)
        os.utime(tmp_path / f"states-{key(number)}.safetensors", ns=(number, number))
    assert cache.get(key(0)) is not None  # used now
    cache.put(key(3), states)
    assert [number for number in range(4) if cache.get(key(number)) is not None] == [0, 2, 3]
    assert (tmp_path / "mine.safetensors").exists()


def test_a_limit_below_what_is_read(model, tokenizer, tmp_path):
    size = 4 * (3 * 6) * (4 * 32 + 3 * 80)  # values of 18 sentences: four hidden states, three gates
    for most_bytes in (size - 1, 2 * size):
        cache = StateCache(tmp_path, most_bytes=most_bytes)
        if most_bytes < size:
            with pytest.warns(
                UserWarning, match=f"without the cache: .* takes {size} bytes, .* {most_bytes};"
            ):
                measure(model, tokenizer, PAIRS, METRICS, cache=cache)
            assert not files(tmp_path)
        else:
            measure(model, tokenizer, PAIRS, METRICS, cache=cache)
            assert len(files(tmp_path)) == 3 * 7


def test_several_writers_and_readers(tmp_path):
    """They evict each other's files all the time; whoever finds something finds what belongs to its key."""
    cases = {key(number): torch.full((5, 40), float(number)) for number in range(8)}

    def use(seed):
        chance = random.Random(seed)
        cache = StateCache(tmp_path, most_bytes=4000)
        found = 0
        for _ in range(150):
            name = chance.choice(list(cases))
            states = cache.get(name)
            if states is None:
                cache.put(name, cases[name])
            else:
                assert torch.equal(states, cases[name])
                found += 1
        return found

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(use, range(4)))
    assert min(found) > 5
    assert len(files(tmp_path)) < len(cases)
    assert all(path.name.startswith("states-") for path in tmp_path.iterdir())
