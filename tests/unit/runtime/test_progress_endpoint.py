"""The progress endpoint of a leader that lives on."""

from dataclasses import replace

import pytest
from fake_api import FakeApi
from hearth.kube.cache import WatchCache
from hearth.kube.credentials import Credentials
from hearth.plan.world import ObjectKey
from hearth.runtime.progress_endpoint import ProgressEndpoint, names_of
from hearth.runtime.progress_tls import Keys, obtain, utc_now
from widget import KIND_PLAN, SETTINGS, widget, widget_key

SECRET = ObjectKey("Secret", SETTINGS.namespace, "hearth-progress-tls")


class Leader:
    """An endpoint whose keys are in a Secret and handed to the plans of one Widget."""

    def __init__(self, keys: Keys, api: FakeApi) -> None:
        self.woken: list[ObjectKey] = []
        handed = SETTINGS.model_copy(update={"progress_ca": keys.ca.decode()})
        self.cache = WatchCache([KIND_PLAN], handed, lambda key, _: self.woken.append(key))
        made = widget("w")
        self.cache.put({**made, "metadata": {**made["metadata"], "uid": "1", "resourceVersion": "1", "generation": 1}})
        self.woken.clear()
        credentials = Credentials("https://127.0.0.1:1", in_cluster=True)
        self.endpoint = ProgressEndpoint(api, credentials, self.cache, lambda _key, _delay: None, "127.0.0.1")


@pytest.mark.parametrize("lost", ["deleted", "damaged"])
async def test_a_new_authority_is_handed_to_the_plans_of_all_resources(lost: str) -> None:
    api = FakeApi()
    keys = await obtain(api, SETTINGS.namespace, names_of(SETTINGS), utc_now())
    leader = Leader(keys, api)
    if lost == "deleted":
        api.remove(SECRET)
    else:
        api.edit(SECRET, lambda secret: secret["data"].update({"ca.key": "Z2FyYmFnZQ=="}))
    await leader.endpoint.renew(keys.ssl_context())
    present = await obtain(api, SETTINGS.namespace, names_of(SETTINGS), utc_now())
    assert present.ca != keys.ca
    assert leader.cache.settings.progress_ca == present.ca.decode()
    assert leader.woken == [widget_key("w")]


async def test_a_new_certificate_of_the_same_authority_wakes_nobody() -> None:
    api = FakeApi()
    keys = await obtain(api, SETTINGS.namespace, ("elsewhere.svc",), utc_now())
    leader = Leader(keys, api)
    await leader.endpoint.renew(keys.ssl_context())
    present = await obtain(api, SETTINGS.namespace, names_of(SETTINGS), utc_now())
    assert present == replace(keys, certificate=present.certificate, key=present.key)
    assert present.certificate != keys.certificate
    assert leader.cache.settings.progress_ca == keys.ca.decode()
    assert leader.woken == []
