"""Runs the operator for Widgets as a process of its own, so that tests can kill it."""

import asyncio
import os
import sys
from pathlib import Path

from hearth.kube.credentials import from_kubeconfig
from hearth.kube.http_api import HttpApi
from hearth.kube.lease import LeaseTimes
from hearth.kube.transport import Transport
from hearth.runtime.logs import set_up
from hearth.runtime.metrics import Metrics
from hearth.runtime.operator import Operator, Options
from widget import KIND_PLAN, SETTINGS


async def main(kubeconfig: str, port: int, identity: str, times: LeaseTimes) -> None:
    metrics = Metrics()
    credentials = from_kubeconfig(Path(kubeconfig))
    options = Options(identity=identity, probe_port=port, lease_times=times)
    async with Transport(credentials, metrics.count_request, user_agent=f"widget-operator/{identity}") as transport:
        await Operator(HttpApi(transport), credentials, SETTINGS, [KIND_PLAN], options, metrics).run()


if __name__ == "__main__":
    set_up(os.environ.get("LEVEL", "info"), as_json=True)
    # Much shorter than in production, so that a failover takes the test seconds and not a quarter of a minute.
    asyncio.run(
        main(sys.argv[1], int(sys.argv[2]), sys.argv[3], LeaseTimes(duration=3.0, renew_deadline=2.0, retry=0.4))
    )
