"""Rows over HTTPS: where they go, and what a server's answers mean."""

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hearth_trainer.config import SourceConfig
from hearth_trainer.download import target_of
from hearth_trainer.errors import TrainerError
from hearth_trainer.sources import data_files

ROWS = "https://rows.example"
Web = dict[str, Callable[[httpx.Request], httpx.Response]]


def source(url: str, token_env: str | None = None) -> SourceConfig:
    return SourceConfig(path=url, source=url, token_env=token_env)


def row(text: str) -> httpx.Response:
    return httpx.Response(200, text=json.dumps({"text": text}) + "\n")


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    """What every URL answers, and a folder for downloads that is not there yet, as on a new volume."""
    pages: Web = {}
    monkeypatch.setenv("HEARTH_SPACE", str(tmp_path / "data" / "downloads"))
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: pages[str(request.url)](request))
    return pages


def test_rows_arrive_on_a_volume_that_is_still_empty(web: Web) -> None:
    web[f"{ROWS}/train.jsonl"] = lambda _: row("x")
    (path,) = data_files(source(f"{ROWS}/train.jsonl"))
    assert (path.name, path.read_text()) == ("train.jsonl", '{"text": "x"}\n')


def test_held_out_rows_of_another_url_do_not_overwrite_those_to_learn_from(web: Web) -> None:
    web[f"{ROWS}/rows.jsonl?part=train"] = lambda _: row("train")
    web[f"{ROWS}/rows.jsonl?part=eval"] = lambda _: row("eval")
    train = data_files(source(f"{ROWS}/rows.jsonl?part=train"))
    held_out = data_files(source(f"{ROWS}/rows.jsonl?part=eval"))
    assert "train" in train[0].read_text()
    assert "eval" in held_out[0].read_text()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"{ROWS}/a/rows.json", "rows.json"),
        (f"{ROWS}/rows.jsonl?token=x#y", "rows.jsonl"),
        (f"{ROWS}/Stra%C3%9Fe%20a.jsonl", "Straße_a.jsonl"),
        (f"{ROWS}/%2e%2e%2fetc%2fpasswd", "_etc_passwd"),
        (f"{ROWS}/..", "rows.jsonl"),
        (ROWS, "rows.jsonl"),
        (f"{ROWS}/{'x' * 300}.json", "x" * 95 + ".json"),
    ],
)
def test_a_file_keeps_its_name_and_never_leaves_its_folder(url: str, name: str, tmp_path: Path) -> None:
    target = target_of(url, tmp_path)
    assert target.name == name
    assert target.parent.parent == tmp_path


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, 65, "DataNotFound"),
        (401, 65, "DataNotFound"),
        (429, 69, "SourceUnavailable"),
        (503, 69, "SourceUnavailable"),
    ],
)
def test_what_a_server_answers_decides_whether_another_try_is_worth_it(
    web: Web, status: int, code: int, kind: str
) -> None:
    web[f"{ROWS}/t.jsonl"] = lambda _: httpx.Response(status)
    with pytest.raises(TrainerError) as caught:
        data_files(source(f"{ROWS}/t.jsonl"))
    assert (caught.value.exit_code, caught.value.kind) == (code, kind)
    assert str(status) in caught.value.message


@pytest.mark.parametrize(
    ("variable", "advice"), [("HEARTH_SPACE", "checkpoints.storage.size"), ("OTHER", "on the node")]
)
def test_rows_that_find_no_room_are_not_tried_again(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, advice: str
) -> None:
    class Full(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"{}"
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.delenv("HEARTH_SPACE")
    monkeypatch.setenv(variable, str(tmp_path))
    web[f"{ROWS}/t.jsonl"] = lambda _: httpx.Response(200, stream=Full())
    with pytest.raises(TrainerError) as caught:
        data_files(source(f"{ROWS}/t.jsonl"))
    assert (caught.value.exit_code, caught.value.kind) == (73, "DiskFull")
    assert advice in caught.value.suggestion


def test_a_redirect_that_leaves_https_is_refused(web: Web) -> None:
    web[f"{ROWS}/t.jsonl"] = lambda _: httpx.Response(302, headers={"location": "http://rows.example/t.jsonl"})
    web["http://rows.example/t.jsonl"] = lambda _: row("x")
    with pytest.raises(TrainerError, match="not https://"):
        data_files(source(f"{ROWS}/t.jsonl"))


def test_only_a_sources_own_token_is_sent_and_only_to_its_own_host(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.host, request.headers.get("authorization")))
        if request.url.path == "/moved.jsonl":
            return httpx.Response(302, headers={"location": "https://store.example/rows.jsonl"})
        return row("x")

    for url in (f"{ROWS}/moved.jsonl", f"{ROWS}/open.jsonl", "https://store.example/rows.jsonl"):
        web[url] = answer
    monkeypatch.setenv("HF_TOKEN", "of the hub")
    monkeypatch.setenv("HEARTH_MODEL_TOKEN", "of the model")
    monkeypatch.setenv("HEARTH_TRAIN_TOKEN", "of the rows")
    data_files(source(f"{ROWS}/open.jsonl"))
    data_files(source(f"{ROWS}/moved.jsonl", "HEARTH_TRAIN_TOKEN"))
    assert asked == [("rows.example", None), ("rows.example", "Bearer of the rows"), ("store.example", None)]


def test_a_secret_without_a_token_is_told_before_a_server_is_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_TRAIN_TOKEN", "")
    with pytest.raises(TrainerError, match="HEARTH_TRAIN_TOKEN is empty"):
        data_files(source(f"{ROWS}/t.jsonl", "HEARTH_TRAIN_TOKEN"))


@pytest.mark.parametrize("token", ["s3cret\nother", "s3cret\rother", "s3cret\x7f", "s3cret…"])
def test_a_token_that_no_header_can_carry_is_told_and_never_quoted(
    web: Web, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HEARTH_TRAIN_TOKEN", token)
    with pytest.raises(TrainerError) as caught:
        data_files(source(f"{ROWS}/t.jsonl", "HEARTH_TRAIN_TOKEN"))
    assert (caught.value.exit_code, caught.value.kind) == (64, "TokenUnusable")
    assert caught.value.message == "HEARTH_TRAIN_TOKEN is not one line of printable ASCII"


def test_a_request_that_cannot_be_sent_is_not_quoted(web: Web) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError("Illegal header value b'Bearer s3cret\\n'")

    web[f"{ROWS}/t.jsonl"] = refuse
    with pytest.raises(TrainerError) as caught:
        data_files(source(f"{ROWS}/t.jsonl"))
    assert caught.value.message == f"{ROWS}/t.jsonl cannot be asked: LocalProtocolError"
