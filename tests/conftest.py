"""What all tests share: no network, no trackers, one tiny tokenizer, and the folder of real text."""

import gc
import os
from pathlib import Path

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # tiny models are slower on two threads, and far slower on a busy machine
}

import pytest
from hypothesis import HealthCheck, settings

from tests.realmodels.e5 import load_e5
from tests.realmodels.speech import speak
from tests.realmodels.whisper import load_whisper
from tests.tiny import make_model, make_tokenizer, real_pairs_folder
from xalign.errors import MissingExtraError

# A fixture -> the markers of the tests that take it. The last two are a whole training and a whole bench.
MARKED = {
    "real_text": ("realdata", "thorough"),
    **dict.fromkeys(("e5_small", "whisper_base", "speech"), ("realmodel", "thorough")),
    **dict.fromkeys(("improved", "standing"), ("thorough",)),
}
# A marker -> the variable under which CI takes a skip for a failure.
REQUIRED = {
    "realdata": "XALIGN_REQUIRE_DATA",
    "realmodel": "XALIGN_REQUIRE_MODELS",
    "browser": "XALIGN_REQUIRE_BROWSER",
}

# The same examples in every run: a failure in CI is one that can be looked at. Models make examples slow.
settings.register_profile(
    "xalign",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("xalign")


@pytest.fixture(scope="module", autouse=True)
def what_is_left_is_not_looked_at_again():
    """Let no later collection of garbage look at what was imported before: every training calls for one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def what_accelerate_is_told_ends_with_a_test():
    """Transformers 4 names the compiler of a training in the environment, and leaves it there."""
    before = {name: value for name, value in os.environ.items() if name.startswith("ACCELERATE_")}
    yield
    for name in [name for name in os.environ if name.startswith("ACCELERATE_") and name not in before]:
        del os.environ[name]
    os.environ |= before


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A small model saved as a folder."""
    folder = tmp_path_factory.mktemp("model")
    make_model("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def real_text() -> Path:
    """The folder of real text; tests that take it carry the marker `realdata`."""
    folder = real_pairs_folder()
    if folder is None:
        pytest.skip("XALIGN_DATA names no folder of real text")
    return folder


@pytest.fixture(scope="session")
def e5_small():
    """multilingual-e5-small and its tokenizer; do not change them."""
    return or_skip(load_e5)


@pytest.fixture(scope="session")
def whisper_base():
    """Whisper base, and its feature extractor with its tokenizer; do not change them."""
    return or_skip(load_whisper)


@pytest.fixture(scope="session")
def speech():
    """Turns a sentence into speech: `speech("Guten Tag.", "de")`."""
    or_skip(lambda: speak("", "en"))
    return speak


def or_skip(load):
    """What `load` returns, or a skip that says what is not installed and how to get it."""
    try:
        return load()
    except MissingExtraError as reason:
        pytest.skip(str(reason))


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    """Nothing that a test writes by default lands in the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def as_for_users():
    """Without the checks of shapes and types that only tests run: what a user's mistake meets."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def registered(monkeypatch):
    """Registers a layout for one test."""
    from xalign import register_layout
    from xalign.model.architectures.table import LAYOUTS

    def register(model_type, layout):
        monkeypatch.setitem(LAYOUTS, model_type, LAYOUTS.get(model_type))  # put back afterwards
        register_layout(model_type, layout)

    return register


@pytest.fixture
def wandb_here():
    """W&B keeps the folder of a process's first run for all later ones; this one starts anew."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


def pytest_collection_modifyitems(items):
    for item in items:
        taken = [name for name in getattr(item, "fixturenames", ()) if name in MARKED]
        for marker in {marker for name in taken for marker in MARKED[name]}:
            item.add_marker(marker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that skipped has failed where what it needs must be there, as in CI."""
    report = yield
    for marker, needed in REQUIRED.items():
        if report.skipped and item.get_closest_marker(marker) and os.environ.get(needed):
            report.outcome = "failed"
            report.longrepr = f"skipped, and {needed} is set: {report.longrepr}"
    return report
