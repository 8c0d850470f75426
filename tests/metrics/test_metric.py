"""`Metric`, `Scale`, and what a list of metrics may hold."""

from functools import partial

import pytest

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics import METRICS
from xalign.metrics.metric import Metric, resolve_metrics
from xalign.metrics.scale import Scale, title_of


def diagonal(similarity):
    return similarity.diagonal()


def shared(pivot, other):
    return (pivot * other).sum(1)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"name": "my metric"}, ArgumentError, "name='my metric' must be a word of letters, digits and _"),
        ({"name": "3d"}, ArgumentError, "name='3d' must be a word"),
        ({"name": None}, ArgumentError, "name=None must be a word"),
        (
            {"reads": "attention"},
            ArgumentError,
            "reads='attention' must be one of neuron_states, neuron_values",
        ),
        ({"over": "tokens"}, ArgumentError, "over='tokens' must be 'similarity' or 'states'"),
        ({"compute": None}, ArgumentError, "metric 'mine' needs compute= or parts=, and not both"),
        ({"compute": None, "parts": {}}, ArgumentError, "needs compute= or parts="),
        ({"parts": {"there": diagonal}}, ArgumentError, "needs compute= or parts=, and not both"),
        (
            {"compute": None, "parts": {"to and fro": diagonal}},
            ArgumentError,
            "name='to and fro' must be a word",
        ),
        ({"compute": None, "parts": {"there": 5}}, ArgumentTypeError, "there must be computed by a function"),
        ({"compute": "cosine"}, ArgumentTypeError, "mine must be computed by a function, not by 'cosine'"),
        ({"over": "states"}, ArgumentError, "a lexical floor has no states: pass has_floor=False"),
        ({"bounds": (1.0, 0.0)}, ArgumentError, r"bounds=\(1.0, 0.0\) must be a smaller and a larger number"),
    ],
)
def test_what_cannot_be_measured_is_refused(fields, error, message, as_for_users):
    good = {"name": "mine", "title": "Mine", "reads": "hidden", "compute": diagonal}
    Metric(**good)
    with pytest.raises(error, match=message):
        Metric(**(good | fields))


def test_its_rows_and_its_scale(as_for_users):
    one = Metric("error", "Error", "hidden", diagonal, bounds=(0, 2), unit="nats", higher_is_better=False)
    assert one.rows == {"error": diagonal}
    assert one.scale == Scale("Error", "nats", (0.0, 2.0), higher_is_better=False)
    two = Metric("both", "Both", "hidden", parts={"there": diagonal, "back": diagonal})
    assert list(two.rows) == ["there", "back"]
    assert two.scale.of_row("both", "there").title == "There"
    assert two.scale.of_row("both", "both").title == "Both"
    states = Metric("shared", "Shared", "hidden", shared, over="states", bounds=None, has_floor=False)
    assert states.scale.bounds is None and not states.scale.is_share


def test_a_null_is_taken_alone_and_computed_beside_the_row():
    def spread(pivot, other):
        return (pivot - other).norm(dim=1)

    own = Metric("own", "Own", "hidden", spread, over="states", bounds=None, has_floor=False, null=spread)
    assert own.computed == {"own": spread, "own:null": spread} and own.rows == {"own": spread}
    given = {"over": "states", "bounds": None, "has_floor": False, "null": spread}
    with pytest.raises(ArgumentError, match="takes null= alone"):
        Metric("own", "Own", "hidden", spread, chance=lambda n: 1 / n, **given)
    with pytest.raises(ArgumentError, match="takes null= alone"):
        Metric("own", "Own", "hidden", parts={"own": spread}, **given)


def test_those_known_by_name():
    assert {name: metric.scale.title for name, metric in METRICS.items()} == {
        "nasca": "NASCA",
        "navca": "NAVCA",
        "mexa": "MEXA",
        "retrieval": "Retrieval",
        "margin": "Margin",
        "routing": "Routing overlap",
        "csls": "CSLS retrieval",
        "xsim": "Margin retrieval",
        "cka": "Debiased CKA",
        "rsa": "Representational similarity",
        "anc": "Neuron-wise correlation",
        "anisotropy": "Anisotropy",
        "iso_score": "IsoScore",
        "hub_skewness": "Skewness of hubs",
        "anti_hubs": "Anti-hubs",
        "robin_hood": "Robin Hood index",
        "silhouette": "Language silhouette",
        "language_probe": "Language identity",
        "shared_neurons": "Shared neurons",
        "nao": "Neuron activation overlap",
        "dali": "Item alignment (DALI)",
        "dali_strong": "Item alignment (strong DALI)",
        "mexa_t": "Context alignment (MEXA-T)",
    }
    shares = {name for name, metric in METRICS.items() if metric.scale.is_share}
    assert shares == {"nasca", "navca", "mexa", "retrieval", "routing", "csls", "xsim", "anti_hubs"} | {
        *("language_probe", "shared_neurons", "nao", "dali", "dali_strong", "mexa_t")
    }
    of_items = {name for name, metric in METRICS.items() if metric.is_of_items}
    assert of_items == {"dali", "dali_strong", "mexa_t"}
    assert METRICS["margin"].chance is None and METRICS["retrieval"].chance(4) == 0.25


def test_higher_or_lower(as_for_users):
    up, down = Scale("Score"), Scale("Error", higher_is_better=False)
    assert (up.best([1, 3, 3]), down.best([3, 1, 1])) == (1, 1)
    assert up.beats(2, 1) and not up.beats(1, 1) and not up.beats(1, 2)
    assert down.beats(1, 2) and not down.beats(1, 1) and not down.beats(2, 1)
    assert (up.worse_to_better(0.1, 0.2), down.worse_to_better(0.1, 0.2)) == ((0.1, 0.2), (0.2, 0.1))
    assert Scale("Share", bounds=(0.0, 1.0)).limits(0.2, 0.3) == (0.0, 1.0)
    assert Scale("Cosine", bounds=(-1.0, 1.0)).limits(0.2, 0.3) == up.limits(0.2, 0.3) == (0.2, 0.3)
    assert title_of("mean_cosine") == "Mean cosine"


def test_names_objects_and_functions():
    own = Metric("own", "Own", "neuron_states", diagonal)
    found = resolve_metrics(("mexa", own, diagonal), METRICS)
    assert found[:2] == (METRICS["mexa"], own)
    assert (found[2].name, found[2].title, found[2].reads) == ("diagonal", "Diagonal", "hidden")
    assert found[2].rows == {"diagonal": diagonal}
    assert (found[2].bounds, found[2].chance, found[2].has_floor) == (None, None, False)

    class Sharpness:
        def __call__(self, similarity):
            return similarity.amax(1)

    assert resolve_metrics([Sharpness()], METRICS)[0].name == "Sharpness"
    of_all = {metric.name for metric in resolve_metrics(["all"], METRICS)}
    assert of_all == METRICS.keys() - {"routing", "dali", "dali_strong", "mexa_t"}
    known = METRICS | {"own": own}
    assert resolve_metrics(["own"], known) == (own,)


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ("nasca", ArgumentTypeError, r"metrics must be a list of names, like \['nasca'\], not 'nasca'"),
        (diagonal, ArgumentTypeError, "metrics must be a list of names"),
        ({"nasca"}, ArgumentTypeError, "metrics must be a list of names"),
        ([], ArgumentError, "metrics is empty; choose from nasca, navca, mexa"),
        (
            ["nasca", "bleu"],
            ArgumentError,
            r"metrics=\['bleu'\] unknown; choose from nasca, .* a function of your own",
        ),
        ([3], ArgumentError, r"metrics=\[3\] unknown"),
        (
            [lambda similarity: similarity.diagonal()],
            ArgumentError,
            r"<lambda> .*has no name to be reported under",
        ),
        ([partial(diagonal)], ArgumentError, r"functools.partial.* has no name .* pass Metric\('my_name'"),
        (["nasca", "nasca"], ArgumentError, r"metrics=\['nasca', 'nasca'\] names a metric twice"),
        ([diagonal, diagonal], ArgumentError, "names a metric twice"),
        (
            ["retrieval", Metric("retrieval_to_pivot", "Mine", "hidden", diagonal)],
            ArgumentError,
            "names a metric twice",
        ),
    ],
)
def test_what_is_no_list_of_metrics_is_refused(metrics, error, message):
    with pytest.raises(error, match=message):
        resolve_metrics(metrics, METRICS)
