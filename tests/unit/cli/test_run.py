"""What `hearth run` makes of where it runs."""

import pytest
from hearth.cli.run import default_probe_host


@pytest.mark.parametrize(
    ("pod_ip", "host"),
    [
        (None, "127.0.0.1"),
        ("", "127.0.0.1"),
        ("10.244.0.7", "0.0.0.0"),
        ("fd00:10:244::7", "::"),
    ],
)
def test_probes_are_answered_under_the_address_of_the_pod_and_outside_pods_on_loopback(
    pod_ip: str | None, host: str
) -> None:
    assert default_probe_host(pod_ip) == host
