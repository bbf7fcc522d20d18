"""Runs the operator for the Widgets of one namespace as a process of its own, so that tests can kill it."""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hearth.kube.credentials import from_kubeconfig
from hearth.kube.http_api import HttpApi
from hearth.kube.lease import LeaseTimes
from hearth.kube.transport import Transport
from hearth.runtime.logs import set_up
from hearth.runtime.metrics import Metrics
from hearth.runtime.operator import Operator, Options
from widget import KIND_PLAN, SETTINGS

LEASES = {
    "long": LeaseTimes(),
    # Much shorter than in production, so that a failover takes the test seconds and not a quarter of a minute. On a
    # busy machine a leader may miss three seconds, and ends: only for tests that are about that.
    "short": LeaseTimes(duration=4.0, renew_deadline=3.0, retry=0.5),
}


async def main(kubeconfig: Path, port: int, identity: str, namespace: str, progress_port: int, lease: str) -> None:
    metrics = Metrics()
    credentials = from_kubeconfig(kubeconfig)
    url = f"https://hearth-progress.{namespace}.svc:{progress_port}"
    settings = SETTINGS.model_copy(update={"namespace": namespace, "progress_url": url})
    options = Options(identity=identity, namespaces=(namespace,), probe_port=port, lease_times=LEASES[lease])
    async with Transport(credentials, metrics.count_request, user_agent=f"widget-operator/{identity}") as transport:
        await Operator(HttpApi(transport), credentials, settings, [KIND_PLAN], options, metrics).run()


if __name__ == "__main__":
    set_up(os.environ.get("LEVEL", "info"), as_json=True)
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]), sys.argv[6]))
