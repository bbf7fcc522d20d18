"""Where models, rows and documents may come from."""

import pytest
from hearth.api.base import ApiModel, Json
from hearth.api.shapes import DataSource, ModelSource
from hearth.api.vectorindex import Source
from hearth.plan.validation import Invalid, parse

MODEL: tuple[type[ApiModel], Json] = (ModelSource, {})
ROWS: tuple[type[ApiModel], Json] = (DataSource, {})
DOCUMENTS: tuple[type[ApiModel], Json] = (Source, {"name": "handbook"})


@pytest.mark.parametrize("source", [MODEL, ROWS, DOCUMENTS], ids=["model", "rows", "documents"])
@pytest.mark.parametrize(
    "uri",
    [
        "pvc://../x",
        "pvc://..",
        "pvc://./x",
        "pvc:///x",
        "pvc:////",
        "pvc://-a/x",
        "pvc://a-/x",
        "pvc://A/x",
        "pvc://a\n",
    ],
)
def test_a_claim_that_cannot_be_called_so_is_refused_in_one_sentence(
    source: tuple[type[ApiModel], Json], uri: str
) -> None:
    model, rest = source
    said = parse(model, {**rest, "uri": uri})
    assert isinstance(said, Invalid), uri
    assert "uri must name a" in said.message
    assert "; " not in said.message


@pytest.mark.parametrize("source", [ROWS, DOCUMENTS], ids=["rows", "documents"])
@pytest.mark.parametrize("uri", ["configMap://../x", "configMap:///x", "configMap://Rows/x"])
def test_so_is_a_config_map(source: tuple[type[ApiModel], Json], uri: str) -> None:
    model, rest = source
    said = parse(model, {**rest, "uri": uri})
    assert isinstance(said, Invalid), uri
    assert "uri must name an object behind configMap:// or pvc://" in said.message


@pytest.mark.parametrize(
    ("source", "uri"),
    [
        (MODEL, "hf://../x"),
        *[(MODEL, uri) for uri in ("pvc://a", "pvc://a/", "pvc://models-1.b/x/../y", "oci://host:5000/Model@sha256:0")],
        *[(ROWS, uri) for uri in ("configMap://a/b", "configMap://a", "pvc://a.b/x y", "https://host/x")],
        *[(DOCUMENTS, uri) for uri in ("configMap://a/b", "configMap://a", "pvc://0", "https://host/x")],
    ],
)
def test_what_names_an_object_or_no_object_of_the_cluster_is_taken(
    source: tuple[type[ApiModel], Json], uri: str
) -> None:
    model, rest = source
    assert not isinstance(said := parse(model, {**rest, "uri": uri}), Invalid), said
