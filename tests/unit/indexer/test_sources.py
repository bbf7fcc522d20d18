"""Which files of a source are documents."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hearth_indexer.documents import RawDocument, Skipped
from hearth_indexer.outcome import BadConfigurationError, BadDataError, UnavailableError
from hearth_indexer.retry import answered
from hearth_indexer.settings import Source, read, secret
from hearth_indexer.sources import chosen, collect


@pytest.mark.parametrize(
    ("path", "include", "exclude", "taken"),
    [
        ("a.md", [], [], True),
        ("deep/down/a.md", ["*.md"], [], True),
        ("deep/down/a.md", ["**/*.md"], [], True),
        ("a.md", ["**/*.md"], [], True),
        ("a.md", ["docs/**"], [], False),
        ("docs/x/a.md", ["docs/**"], [], True),
        ("docs/x/a.md", ["docs/*.md"], [], False),
        ("a.md", ["*.md"], ["a.*"], False),
        ("old/a.md", [], ["old/**"], False),
        ("a.mdx", ["*.md"], [], False),
        ("a1.md", ["/a?.md"], [], True),
    ],
)
def test_globs_choose_files(path: str, include: list[str], exclude: list[str], taken: bool) -> None:
    assert chosen(path, include, exclude) is taken


def test_a_config_map_mount_gives_each_key_once(tmp_path: Path) -> None:
    real = tmp_path / "..2026_11_24"
    real.mkdir()
    (real / "a.md").write_text("A", encoding="utf-8")
    (tmp_path / "..data").symlink_to(real.name)
    (tmp_path / "a.md").symlink_to("..data/a.md")
    found = list(collect(Source(name="s", uri="configMap://handbook", path=str(tmp_path))))

    assert found == [RawDocument("configMap://handbook/a.md", "a.md", b"A")]


def test_a_single_file_keeps_the_uri_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("A", encoding="utf-8")
    uri = "configMap://handbook/a.md"

    assert list(collect(Source(name="s", uri=uri, path=str(tmp_path / "a.md")))) == [RawDocument(uri, "a.md", b"A")]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="pvc://docs/typo holds no such file or folder"):
        list(collect(Source(name="s", uri="pvc://docs/typo", path=str(tmp_path / "typo"))))


@pytest.fixture
def library(tmp_path: Path) -> Source:
    """A claim with two folders, and what a file system has of its own."""
    for name in ("a/ok.md", "hr/leave.md", ".git/config.md", "lost+found/x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("words")
    return Source(name="s", uri="pvc://docs", path=str(tmp_path))


Refuse = Callable[[str, str], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Has a call of the system refuse a path: root, as which tests may run, is refused nothing."""

    def make(call: str, refused: str) -> None:
        real = getattr(os, call)

        def called(path: Any, *args: Any, **more: Any) -> Any:
            if str(path).endswith(refused):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *args, **more)

        monkeypatch.setattr(os, call, called)

    return make


@pytest.mark.parametrize(
    ("call", "refused", "told"),
    [
        ("scandir", "/hr", "pvc://docs/hr"),
        ("stat", "/hr/leave.md", "pvc://docs/hr/leave.md"),
        ("scandir", "/.git", None),
        ("scandir", "/lost+found", None),
    ],
)
def test_what_may_not_be_read_is_told_and_the_rest_is_read(
    library: Source, refuse: Refuse, call: str, refused: str, told: str | None
) -> None:
    refuse(call, refused)
    found = list(collect(library))

    skipped = [f for f in found if isinstance(f, Skipped)]
    assert skipped == ([] if told is None else [Skipped(told, "cannot be read: Permission denied")])
    assert RawDocument("pvc://docs/a/ok.md", "ok.md", b"words") in found


def test_a_folder_that_is_excluded_is_not_missed(library: Source, refuse: Refuse) -> None:
    refuse("scandir", "/hr")
    asked = library.model_copy(update={"exclude": ("hr/**",)})

    assert [f.uri for f in collect(asked)] == ["pvc://docs/a/ok.md"]


def test_a_source_that_may_not_be_read_is_tried_again(library: Source, refuse: Refuse) -> None:
    refuse("stat", "/hr")
    asked = library.model_copy(update={"path": f"{library.path}/hr", "uri": "pvc://docs/hr"})

    with pytest.raises(UnavailableError, match="pvc://docs/hr cannot be read: Permission denied"):
        list(collect(asked))


def test_what_is_gone_when_it_is_read_or_is_no_file_is_told(library: Source) -> None:
    root = Path(str(library.path))
    (root / "a/gone.md").symlink_to(root / "nowhere.md")
    os.mkfifo(root / "a/pipe.md")
    found = [f for f in collect(library) if isinstance(f, Skipped)]

    assert found == [
        Skipped("pvc://docs/a/gone.md", "cannot be read: No such file or directory"),
        Skipped("pvc://docs/a/pipe.md", "is no regular file"),
    ]


def test_a_passing_failure_is_waited_out_and_the_server_may_say_how_long() -> None:
    replies = [httpx.Response(503), httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(200)]
    pauses: list[float] = []

    assert answered(lambda: replies.pop(0), "embedder", sleep=pauses.append).status_code == 200
    assert 0.25 <= pauses[0] <= 0.5
    assert pauses[1] == 7


def test_an_error_that_will_not_pass_is_not_repeated() -> None:
    calls = []
    response = answered(lambda: calls.append(1) or httpx.Response(404), "embedder")  # type: ignore[func-returns-value]

    assert (response.status_code, len(calls)) == (404, 1)


def test_patience_ends_with_the_last_reason() -> None:
    def refuse() -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(UnavailableError, match="embedder does not answer: connection refused"):
        answered(refuse, "embedder", patience=3, sleep=lambda _: None)


@pytest.mark.parametrize("wait", ["0", "00", None])
def test_patience_ends_whatever_pause_the_server_asks_for(wait: str | None) -> None:
    busy = httpx.Response(503, headers={} if wait is None else {"retry-after": wait})
    pauses: list[float] = []

    with pytest.raises(UnavailableError, match="503 Service Unavailable, for 600 s"):
        answered(lambda: busy, "embedder", patience=600, sleep=pauses.append)
    assert min(pauses) >= 0.25


def test_a_wrong_configuration_says_which_field(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"alias": "a", "chunking": {"size": 3}}', encoding="utf-8")

    with pytest.raises(BadConfigurationError, match=r"chunking\.size"):
        read(path)


@pytest.mark.parametrize("value", [None, "", "\n"])
def test_a_secret_without_its_key_is_named_and_may_be_mended(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("HEARTH_SOURCE_TOKEN_0", value)
    with pytest.raises(UnavailableError, match="HEARTH_SOURCE_TOKEN_0 is not set or empty"):
        secret("HEARTH_SOURCE_TOKEN_0")


def test_the_line_break_that_ends_a_secrets_file_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_MILVUS_TOKEN", "root:Mil vüs\n")
    assert secret("HEARTH_MILVUS_TOKEN") == "root:Mil vüs"


def test_a_token_that_no_header_can_carry_is_told_and_never_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_SOURCE_TOKEN_0", "s3cret\nother")
    page = Source(name="s", uri="https://nowhere.invalid/a.md", token_env="HEARTH_SOURCE_TOKEN_0")
    with pytest.raises(UnavailableError, match="HEARTH_SOURCE_TOKEN_0 is not one line") as refused:
        list(collect(page))
    assert "s3cret" not in str(refused.value.as_json())


def test_a_request_that_cannot_be_sent_is_neither_quoted_nor_repeated(caplog: pytest.LogCaptureFixture) -> None:
    def send() -> httpx.Response:
        raise httpx.LocalProtocolError("Illegal header value b'Bearer s3cret\\n'")

    with pytest.raises(UnavailableError) as refused:
        answered(send, "embedder", sleep=lambda _: None)
    assert refused.value.message == "embedder cannot be asked: LocalProtocolError"
    assert caplog.text == ""
