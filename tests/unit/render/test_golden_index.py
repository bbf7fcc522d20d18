"""Rendered objects of a VectorIndex, reviewed as text. `HEARTH_GOLDEN=write` writes the files anew."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth.api.base import Json
from hearth.api.vectorindex import VectorIndexSpec
from hearth.render.indexer_job import Build, Embedder, alias_of, build_name, config, config_map, job
from hearth.render.milvus import (
    EngineChoice,
    claim_name,
    disruption_budget,
    milvus_name,
    services,
    stateful_set,
)
from hearth.render.milvus import config_map as milvus_config_map
from hearth_indexer.settings import RunSettings

GOLDEN = Path(__file__).parent / "golden"
OWNER: Json = {"kind": "VectorIndex", "metadata": {"name": "handbook", "namespace": "team", "uid": "u"}}

BUILD = Build(
    alias="handbook",
    milvus_uri="http://handbook-milvus.team.svc.cluster.local:19530",
    engine="milvus claim-1",
    embedders=(Embedder("http://embedder.team.svc.cluster.local:8000/v1", "embedder", "sha256:" + "a" * 64),),
    revisions=("0123abcd",),
    asked="",
)


def spec(**fields: Any) -> VectorIndexSpec:
    smallest: dict[str, Any] = {
        "sources": [{"name": "handbook", "uri": "configMap://handbook"}],
        "embeddings": [{"name": "text", "serviceRef": {"name": "embedder"}}],
    }
    return VectorIndexSpec.model_validate(smallest | fields)


def standalone() -> list[Json]:
    choice = EngineChoice("registry/milvus@sha256:0", "20Gi", "fast", "ReadWriteOnce")
    return [
        milvus_config_map(OWNER, "20Gi"),
        *services(OWNER, "Standalone"),
        disruption_budget(OWNER),
        stateful_set(OWNER, spec(), choice),
    ]


def lite() -> list[Json]:
    choice = EngineChoice("registry/milvus-lite@sha256:0", "2Gi", None, "ReadWriteOncePod", suspended=True)
    wanted = spec(
        milvus={"topology": "Lite", "resources": {"limits": {"memory": "1Gi"}}},
        deletionPolicy="Delete",
        podOverrides={"nodeSelector": {"disk": "fast"}, "env": [{"name": "A", "value": "b"}]},
    )
    return [*services(OWNER, "Lite"), stateful_set(OWNER, wanted, choice)]


EVERY_SOURCE = [
    {"name": "handbook", "uri": "configMap://handbook", "include": ["*.md"], "exclude": ["draft-*"]},
    {"name": "claim", "uri": "pvc://docs/manuals"},
    {"name": "image", "uri": "oci://registry/docs@sha256:1"},
    {"name": "page", "uri": "https://example.com/a.html", "secretRef": {"name": "site"}},
]


def indexer() -> list[Json]:
    wanted = spec(
        milvus={"topology": "External", "external": {"uri": "https://m:19530", "secretRef": {"name": "milvus"}}},
        sources=EVERY_SOURCE,
        parsing={"maxPages": 20},
        chunking={"splitter": "Markdown", "size": 128, "overlap": 16, "keepHeadings": True},
        sparse={"enabled": False},
        index={"type": "HNSW", "recallTarget": "0.98", "measure": {"k": 40, "queries": 200}},
        refresh={"keepBuilds": 0},
        podOverrides={"nodeSelector": {"disk": "fast"}, "resources": {"limits": {"cpu": "8"}}},
    )
    build = Build(**{f: getattr(BUILD, f) for f in BUILD.__slots__} | {"revisions": ("0123abcd", "", "", "")})
    made = job(OWNER, wanted, build, image="registry/indexer@sha256:0", progress_url="https://progress:8443")
    return [config_map(OWNER, wanted, build, "PEM"), made]


@pytest.mark.parametrize(
    ("name", "objects"), [("milvus_standalone", standalone()), ("milvus_lite", lite()), ("indexer", indexer())]
)
def test_rendered_objects_are_as_reviewed(name: str, objects: list[Json]) -> None:
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("HEARTH_GOLDEN") == "write":
        path.write_text(yaml.safe_dump_all(json.loads(json.dumps(objects)), sort_keys=False))

    assert list(yaml.safe_load_all(path.read_text())) == objects


def test_the_indexer_understands_what_it_is_told() -> None:
    wanted = spec(chunking={"size": 64}, refresh={"keepBuilds": 2})
    read = RunSettings.model_validate(config(OWNER, wanted, BUILD))

    assert read.owner == "team/handbook"
    assert read.sources[0].path == "/sources/0"
    assert (read.chunking.size, read.keep_builds, read.sparse) == (64, 2, None)
    assert read.embeddings[0].model_digest == "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("name", "topology", "alias"),
    [
        ("handbook", "Standalone", "handbook"),
        ("my-docs.v2", "Lite", "my_docs_v2"),
        ("2026-reports", "Standalone", "i_2026_reports"),
        ("hearth-builds", "Lite", "i_hearth_builds"),
        ("handbook", "External", "team_handbook_a103d1b5"),
    ],
)
def test_an_alias_is_a_name_that_milvus_allows(name: str, topology: str, alias: str) -> None:
    assert alias_of({"metadata": {"name": name, "namespace": "team", "uid": "u"}}, topology) == alias


def test_no_two_indexes_of_any_cluster_have_one_alias_in_a_shared_milvus() -> None:
    resources = [("a-b", "c", "1"), ("a", "b-c", "2"), ("a", "b-c", "3")]
    owners = [{"metadata": {"namespace": n, "name": name, "uid": uid}} for n, name, uid in resources]
    aliases = [alias_of(owner, "External") for owner in owners]
    assert len(set(aliases)) == 3
    assert all(re.fullmatch("a_b_c_[0-9a-f]{8}", alias) for alias in aliases)


def test_an_index_keeps_the_alias_that_it_has_on_record_in_a_shared_milvus() -> None:
    owner: Json = {**OWNER, "status": {"builds": {"active": "b1", "alias": "team_handbook"}}}
    assert alias_of(owner, "External") == "team_handbook"


def test_names_stay_within_their_limits() -> None:
    owner = "a" * 63

    assert len(milvus_name(owner)) <= 52
    assert len(claim_name(owner)) <= 63
    assert len(build_name(spec(), BUILD)) == 8


def test_milvus_ends_by_itself_before_the_kubelet_kills_it() -> None:
    config_text = milvus_config_map(OWNER, "1Gi")["data"]["milvus.yaml"]
    template = stateful_set(OWNER, spec(), EngineChoice("i", "1Gi", None, "ReadWriteOnce"))["spec"]["template"]

    assert yaml.safe_load(config_text)["common"]["gracefulStopTimeout"] == 30
    assert template["spec"]["terminationGracePeriodSeconds"] == 60


def test_every_component_of_milvus_has_a_port_of_its_own() -> None:
    read = yaml.safe_load(milvus_config_map(OWNER, "1Gi")["data"]["milvus.yaml"])
    parts = ("rootCoord", "dataCoord", "queryCoord", "proxy", "queryNode", "dataNode", "indexNode")
    ports = [read[part]["port"] for part in parts] + [read["proxy"]["internalPort"]]

    assert len(set(ports)) == len(ports)
    assert read["proxy"]["port"] == 19530
