"""Objects are decoded without managedFields, whatever stands in and around them."""

import json
from typing import Any

import orjson
import pytest
from hearth.kube.wire import decode, without_managed_fields
from hypothesis import given
from hypothesis import strategies as st

ENTRY = {
    "manager": "hearth/children",
    "operation": "Apply",
    "fieldsV1": {"f:spec": {"f:ports": {'k:{"port":8000,"protocol":"TCP"}': {".": {}, "f:port": {}}}}},
}


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "entries", [[ENTRY], [ENTRY, {**ENTRY, "subresource": "status"}], []], ids=["one", "two", "none"]
)
@pytest.mark.parametrize("last", [True, False], ids=["last in metadata", "in the middle"])
def test_managed_fields_are_gone_and_all_else_is_there(entries: list[Any], last: bool) -> None:
    around = {"name": "a"} if last else {"annotations": {"a": "b"}}
    meta = {**around, "managedFields": entries, **({} if last else {"name": "a"})}
    obj = {"metadata": meta, "spec": {"list": [{"a": 1}], "text": 'a "quote" }]}'}}
    for data in (obj, {"items": [obj, obj], "metadata": {"resourceVersion": "5"}}, {"type": "ADDED", "object": obj}):
        decoded = decode(compact(data))
        assert decoded == json.loads(compact(data).replace(compact(entries), b"[]"))


def test_text_that_looks_like_managed_fields_is_left_alone() -> None:
    data = compact({"data": {"a": '"managedFields":[{"x":1}],', "b": '\\"managedFields":[{}]}'}})
    assert without_managed_fields(data) == data


def test_a_name_that_looks_like_the_end_of_managed_fields_does_no_harm() -> None:
    odd = {"fieldsV1": {'v:{"a":[{"b":1}]}': {}, 'v:[{"b":1}],': {}}}
    data = {"metadata": {"managedFields": [odd], "name": "a"}, "spec": {}}
    assert decode(compact(data))["metadata"]["name"] == "a"
    assert decode(compact(data))["spec"] == {}


def test_what_is_no_json_is_refused() -> None:
    for data in (b'{"metadata":{"managedFields":[{"a":1}]', b"no JSON", b'"managedFields":[{'):
        with pytest.raises(orjson.JSONDecodeError):
            decode(data)


TEXT = st.text(alphabet='"\\{}[],:managedFields vf1', max_size=30)
VALUE = st.recursive(
    TEXT | st.integers(0, 9), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8
)


@given(fields=VALUE, spec=st.dictionaries(TEXT.filter(lambda name: name != "managedFields"), TEXT))
def test_any_managed_fields_leave_the_rest_as_it_is(fields: Any, spec: Any) -> None:
    data = {"metadata": {"managedFields": [{"manager": "x", "fieldsV1": {"f": fields}}], "name": "a"}, "spec": spec}
    decoded = decode(compact(data))
    assert (decoded["metadata"]["name"], decoded["spec"]) == ("a", spec)
