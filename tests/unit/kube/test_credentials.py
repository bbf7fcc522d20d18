"""Kubeconfigs and service accounts."""

import asyncio
import base64
import json
import sys
from pathlib import Path

import pytest
import yaml
from hearth.kube import credentials
from hearth.kube.credentials import CredentialsError, from_kubeconfig, from_service_account, load
from hearth.kube.errors import ConnectionFailedError

SLOW_PLUGIN = """
import time
time.sleep(0.3)
print('{"status": {"token": "t"}}')
"""


def kubeconfig(folder: Path, user: dict, **cluster: object) -> Path:
    path = folder / "config"
    content = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
            {"name": "broken", "context": {"cluster": "elsewhere", "user": "u"}},
        ],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_current_context_is_used(tmp_path: Path) -> None:
    found = from_kubeconfig(kubeconfig(tmp_path, {"token": "t0"}))
    assert (found.server, found.namespace, found.token()) == ("https://api:6443", "team", "t0")


def test_certificates_may_be_inline_or_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "client.crt").write_bytes(b"certificate")
    user = {"client-certificate": "client.crt", "client-key-data": base64.b64encode(b"key").decode()}
    found = from_kubeconfig(kubeconfig(tmp_path, user))
    assert (found.certificate, found.key, found.token()) == (b"certificate", b"key", None)


def test_a_token_file_is_read_again_after_it_was_rotated(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    found = from_kubeconfig(kubeconfig(tmp_path, {"tokenFile": "token"}))
    assert found.token() == "first"
    (tmp_path / "token").write_text("second\n")
    assert found.token() == "first"
    found.forget_token()
    assert found.token() == "second"


def test_a_credential_plugin_is_asked_for_the_token(tmp_path: Path) -> None:
    answer = "import os; print('{\"status\": {\"token\": \"' + os.environ['FROM'] + '\"}}')"
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", answer],
        "env": [{"name": "FROM", "value": "plugin"}],
    }
    assert from_kubeconfig(kubeconfig(tmp_path, {"exec": plugin})).token() == "plugin"


@pytest.mark.parametrize(
    ("expiry", "asked_again"),
    [(None, False), ("2999-01-01T00:00:00Z", False), ("2020-01-01T00:00:00Z", True)],
)
def test_a_plugin_is_asked_again_only_when_its_token_has_ended(
    tmp_path: Path, expiry: str | None, asked_again: bool
) -> None:
    count = tmp_path / "count"
    count.write_text("")
    status = {"token": "t"} | ({"expirationTimestamp": expiry} if expiry else {})
    answer = f"open({str(count)!r}, 'a').write('x'); print({json.dumps({'status': status})!r})"
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", answer],
    }
    found = from_kubeconfig(kubeconfig(tmp_path, {"exec": plugin}))
    assert [found.token(), found.token()] == ["t", "t"]
    assert len(count.read_text()) == (2 if asked_again else 1)
    found.forget_token()
    found.token()
    assert len(count.read_text()) == (3 if asked_again else 2)


def test_a_plugin_that_fails_is_named(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/aws"}
    with pytest.raises(CredentialsError, match="/nowhere/aws"):
        from_kubeconfig(kubeconfig(tmp_path, {"exec": plugin})).token()


async def test_a_plugin_runs_beside_the_event_loop_and_its_failure_is_worth_another_try(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/aws"}
    found = from_kubeconfig(kubeconfig(tmp_path, {"exec": plugin}))
    with pytest.raises(ConnectionFailedError, match="/nowhere/aws"):
        await found.bearer()
    slow = {**plugin, "command": sys.executable, "args": ["-c", SLOW_PLUGIN]}
    found = from_kubeconfig(kubeconfig(tmp_path, {"exec": slow}))
    asked = asyncio.create_task(found.bearer())
    await asyncio.sleep(0.05)  # comes back while the plugin runs
    assert not asked.done()
    assert await asked == "t"


def test_a_missing_cluster_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"clusters has no entry named 'elsewhere' \(found: c\)"):
        from_kubeconfig(kubeconfig(tmp_path, {}), context="broken")


def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    for name, text in {"token": "t0", "namespace": "hearth-system", "ca.crt": "ca"}.items():
        (tmp_path / name).write_text(text)
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = from_service_account(env, tmp_path)
    assert (found.server, found.namespace, found.token()) == ("https://[fd00::1]:443", "hearth-system", "t0")
    assert found.in_cluster


def test_without_anything_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", tmp_path / "nothing")
    with pytest.raises(CredentialsError, match="pass --kubeconfig FILE or set KUBECONFIG"):
        load()


def part(folder: Path, name: str, **content: object) -> Path:
    """One of several kubeconfigs, in a folder of its own."""
    (folder / name).mkdir()
    path = folder / name / "config"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_files_of_kubeconfig_are_one_and_the_first_to_name_something_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    first = part(tmp_path, "first", **{"current-context": "x", "contexts": [context]})
    second = part(
        tmp_path,
        "second",
        **{"current-context": "other", "users": [{"name": "u", "user": {"client-certificate": "client.crt"}}]},
        clusters=[{"name": "c", "cluster": {"server": "https://second"}}],
    )
    third = part(tmp_path, "third", clusters=[{"name": "c", "cluster": {"server": "https://third"}}])
    (second.parent / "client.crt").write_bytes(b"beside the file that names it")
    monkeypatch.setenv("KUBECONFIG", f":{tmp_path / 'absent'}:{first}:{second}:{third}:")
    found = load()
    assert (found.server, found.certificate) == ("https://second", b"beside the file that names it")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: [", "config is not YAML"),
        (b"\xff\xfe", "config is not YAML"),
        ("- a", r"config: expected a kubeconfig, found \['a'\]"),
        ("clusters: 5", "names no current-context; pass --context NAME"),
        ("{current-context: x, contexts: 5}", r"contexts has no entry named 'x' \(found: none\)"),
        ("{current-context: x, contexts: [a, {name: x, context: {cluster: c}}]}", "clusters has no entry named 'c'"),
    ],
    ids=["broken", "not UTF-8", "a list", "no current context", "no list of contexts", "a context that is a word"],
)
def test_a_file_that_is_no_kubeconfig_is_told_with_its_name(tmp_path: Path, content: str | bytes, told: str) -> None:
    (tmp_path / "config").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CredentialsError, match=told):
        load(tmp_path / "config")


@pytest.mark.parametrize(
    ("user", "cluster", "told"),
    [
        ({"client-certificate": "nope.pem"}, {}, "client-certificate .*nope.pem: No such file"),
        ({"client-key-data": "x"}, {}, "client-key-data is not base64"),
        ({}, {"server": ""}, "config: server is missing"),
    ],
)
def test_what_a_kubeconfig_lacks_is_told_with_its_name(tmp_path: Path, user: dict, cluster: dict, told: str) -> None:
    with pytest.raises(CredentialsError, match=told):
        load(kubeconfig(tmp_path, user, **cluster))


def test_a_folder_is_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="Is a directory"):
        load(tmp_path)


def test_a_certificate_that_is_none_is_told() -> None:
    with pytest.raises(CredentialsError, match="a certificate or key for https://api cannot be used"):
        credentials.Credentials("https://api", certificate=b"x", key=b"y").ssl_context()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": {"clientCertificateData": "x"}}, "gave a client certificate: only tokens are understood"),
        ({"status": {}}, "gave no token: its answer has no 'token'"),
        ({}, "gave no token: its answer has no 'status'"),
    ],
)
def test_an_answer_of_a_plugin_without_a_token_is_told(tmp_path: Path, answer: dict, told: str) -> None:
    script = ["-c", f"print({json.dumps(answer)!r})"]
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": script}
    with pytest.raises(CredentialsError, match=told):
        from_kubeconfig(kubeconfig(tmp_path, {"exec": plugin})).token()


def test_a_plugin_without_a_command_is_told(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="exec is no credential plugin: 'command' is missing"):
        from_kubeconfig(kubeconfig(tmp_path, {"exec": {"apiVersion": "v1"}})).token()
