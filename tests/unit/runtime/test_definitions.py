"""What must be served before the operator starts to watch."""

import pytest
from hearth.kube.resources import hearth_resource
from hearth.runtime import definitions
from hearth.runtime.definitions import MissingCrdsError, await_definitions

CUSTOM = [hearth_resource("LLMService", "llmservices"), hearth_resource("VectorIndex", "vectorindices")]


class Server:
    """Serves these plurals, and lists the group from the n-th look on."""

    def __init__(self, *served: str, listed_at: int = 1) -> None:
        self.served, self.listed_at, self.looks = frozenset(served), listed_at, 0

    async def discover(self, api_version: str) -> frozenset[str]:
        return self.served

    async def lists_version(self, api_version: str) -> bool:
        self.looks += 1
        return self.looks >= self.listed_at


async def test_what_is_missing_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(
        MissingCrdsError, match=r"no CustomResourceDefinition vectorindices\.hearth\.dev; .*kubectl apply"
    ):
        await await_definitions(Server("llmservices"), CUSTOM)


async def test_a_group_that_is_served_and_not_listed_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "PAUSE", 0.0)
    server = Server("llmservices", "vectorindices", listed_at=3)
    await await_definitions(server, CUSTOM)
    assert server.looks == 3
