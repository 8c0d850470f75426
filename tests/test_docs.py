"""Every example in README, docs and docstrings runs, and every public name stands in one."""

import ast
import doctest
import importlib
import pkgutil
import re
import shutil
from pathlib import Path
from types import FunctionType

import pytest
import torch
import transformers

import xalign
from tests import source_tree
from tests.minilm import minilm_folder
from tests.mixtures import make_mixture
from tests.monitor.training import make_trainer
from tests.test_imports import LEVELS
from tests.tiny import ROOT, make_model, make_tokenizer
from xalign.judging.identify import identify_language
from xalign.model.architectures.table import LAYOUTS
from xalign.pairs import load

BUNDLED = ROOT / "xalign" / "pairs" / "bundled"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A few lines shown before the whole example, which is further down.
LINK = re.compile(r"\]\(([^)#]+)\)")
FRAGMENT = re.compile(r"^```py\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODULES = sorted(module.name for module in pkgutil.walk_packages(xalign.__path__, "xalign."))
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page):
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def offline(monkeypatch):
    """Replace what pages load from the Hub: MiniLM by a local copy, a language model by a tiny one."""
    for name in ("AutoModel", "AutoTokenizer"):
        original = getattr(transformers, name).from_pretrained

        def from_pretrained(hub_id, original=original, name=name, **options):
            if isinstance(hub_id, Path):  # a folder of the package
                return original(hub_id, **options)
            if "MiniLM" in hub_id:
                shallow = {"num_hidden_layers": 4} if name == "AutoModel" else {}  # two thirds of the cost
                return original(minilm_folder(), **shallow, **options)
            return make_model("llama") if name == "AutoModel" else make_tokenizer()

        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", from_pretrained)
    causal = transformers.AutoModelForCausalLM
    monkeypatch.setattr(
        causal,
        "from_pretrained",
        lambda hub_id, **options: make_mixture() if "MoE" in str(hub_id) else make_model("llama"),
    )


@pytest.fixture
def few_sentences(request, monkeypatch, tmp_path):
    """Let the bundled text have its shortest sentences alone: pages measure it some 50 times."""
    # measure.md measures it most often; other pages take rows from all of these.
    few = 40 if request.node.callspec.id == "docs/measure.md" else 100
    identify_language("as it is with the whole text")
    (tmp_path / "bundled").mkdir()
    texts = {path.name: path.read_text(encoding="utf-8").splitlines() for path in BUNDLED.glob("*_*.txt")}
    sizes = [sum(map(len, lines)) for lines in zip(*texts.values(), strict=True)]
    shortest = sorted(sorted(range(len(sizes)), key=sizes.__getitem__)[:few])
    for name, lines in texts.items():
        text = "".join(f"{lines[row]}\n" for row in shortest)
        (tmp_path / "bundled" / name).write_text(text, encoding="utf-8")
    make_tokenizer()  # kept for all tests, so it must not learn from this shorter text
    monkeypatch.setattr(load, "files", lambda package: tmp_path)


@pytest.fixture(autouse=True)
def layouts_as_before():
    """Forget the layouts that examples register."""
    before = dict(LAYOUTS)
    yield
    LAYOUTS.clear()
    LAYOUTS.update(before)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")
@pytest.mark.filterwarnings(
    "ignore:most tokens of some languages are unknown:UserWarning"
)  # measure.md shows it
# Of Lightning, in integrations.md: advice on workers, and what it asks torch.
@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*the logging interval:UserWarning")
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")
def test_the_examples_of_a_page_run_in_order(page, offline, few_sentences, tmp_path):
    (tmp_path / "flores200_dataset" / "devtest").mkdir(parents=True)
    for path in BUNDLED.glob("*_*.txt"):
        shutil.copy(path, tmp_path / "flores200_dataset" / "devtest" / f"{path.stem}.devtest")
    namespace = {"__name__": "docs"}
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_fragment_quotes_an_example_of_its_page(page):
    lines = {line.strip() for block in blocks(page) for line in block.splitlines()}
    for fragment in FRAGMENT.findall(page.read_text(encoding="utf-8")):
        assert {line.strip() for line in fragment.splitlines() if line.strip()} <= lines


def test_every_public_name_stands_in_an_example():
    used = set()
    for page in PAGES:
        for block in blocks(page):
            used |= {node.id for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Name)}
            used |= {node.attr for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)}
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = {name for name in xalign.__all__ if name in used} | {
        name for name in ("ModelMap", "XAlignError") if f"xalign.{name}" in text
    }
    assert shown == set(xalign.__all__)


def test_every_metric_function_stands_in_an_example():
    examples = "\n".join(block for page in PAGES for block in blocks(page))
    for name in (name for name in MODULES if name.startswith("xalign.metrics.")):
        for function, value in vars(importlib.import_module(name)).items():
            own = isinstance(value, FunctionType) and value.__module__ == name
            if own and not function.startswith(("_", "check")):
                assert function in examples or ">>>" in (value.__doc__ or ""), f"{name}.{function}"


def test_links_between_pages():
    for page in PAGES:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), (page.name, target)


def test_links_to_headings():
    for page in PAGES:
        for name, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
            target = page.parent / name if name else page
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
            assert heading in anchors, (page.name, name, heading)


def test_every_page_can_be_reached_from_the_readme():
    """A page of `docs/` in one step, one of its folders through the index there."""
    readme = PAGES[0].read_text(encoding="utf-8")
    for page in PAGES[1:]:
        if page.parent == ROOT / "docs" or page.name == "index.md":
            assert f"({name_of(page)})" in readme, page
        else:
            assert page.name in LINK.findall((page.parent / "index.md").read_text(encoding="utf-8")), page


def test_the_gallery_shows_every_picture():
    gallery = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    pictures = {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    assert set(re.findall(r"\]\(pictures/([^)]+)\)", gallery)) == pictures


def test_the_architecture_page_has_the_levels_of_the_import_test():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^ ?(\d+)   (\S+(?: · \S+)*)  ", page, re.MULTILINE)
    assert [names.split(" · ") for _, names in reversed(drawn)] == LEVELS
    for room in (room for level in LEVELS for room in level):
        assert f"- **`{room}`**" in page, f"{room} has no paragraph"


def has_examples(name):
    return ">>>" in source_tree.MODULES[name].read_text(encoding="utf-8")


def test_every_module_can_be_imported():
    for name in MODULES:
        importlib.import_module(name)


@pytest.mark.parametrize("name", list(filter(has_examples, MODULES)))
def test_docstrings(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    for test in finder.find(module, name, module=module):
        if not test.examples:
            continue
        test.globs |= namespace_for(test.name)
        runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
        failures = []
        runner.run(test, out=failures.append)
        assert not runner.failures, "".join(failures)


_SPEAKING = (
    "answers",
    "calibrate",
    "evaluate",
    "losses.text",
    "token_losses",
    "xalign.confusion",
    "judging.sample",
    "upper_bound",
    "attribution",
    "next_token",
    "gradient",
    "importance",
    "likelihood_gaps",
    "judge_debiasing",
    "xalign.probing",
)


def namespace_for(name):
    """Return what an example may use: a model, its tokenizer, a batch, a report, a trainer."""
    import numpy as np

    everything = {public: getattr(xalign, public) for public in xalign.__all__}
    speaks = any(part in name for part in _SPEAKING)
    model = make_model("llama" if speaks else "bert", intermediate_size=64)
    names = {
        "model": model,
        "tokenizer": make_tokenizer(),
        "batch": {"input_ids": torch.arange(4, 14).reshape(2, 5)},
        "pairs": xalign.load_pairs("bundled", ["deu_Latn"], n=10),
        "torch": torch,
        "np": np,
    }
    if any(
        part in name
        for part in ("views.", "hub.", "results.published", "monitor.scalars", "monitor.report_log")
    ):
        names["report"] = xalign.measure(model, names["tokenizer"], names["pairs"], ["nasca"])
    if "AlignmentCallback" in name:
        names["trainer"] = make_trainer(evaluate=False, max_steps=4, folder="doctest")
        names["trainer"].remove_callback(transformers.PrinterCallback)
    return everything | names


def test_pages_speak_of_the_project_only():
    for page in [*PAGES, ROOT / "CHANGELOG.md", *Path(ROOT / "xalign").rglob("README.md")]:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"/(home|root|work|Users)/", text), page
        assert str(ROOT) not in text, page
