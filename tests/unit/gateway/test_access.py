"""Which entries of a Secret are keys, and that a wrong one opens nothing."""

import json
import logging
from pathlib import Path

import pytest
from hearth_gateway import access
from hearth_gateway.access import Caller, KeyStore
from hearth_gateway.errors import ApiError


@pytest.mark.parametrize(
    ("content", "key", "expected"),
    [
        (b"plain\n", "plain", Caller("entry", "entry")),
        (b'{"key": "k"}', "k", Caller("entry", "entry")),
        (b'{"key": " k ", "user": "Bob", "of no use here": ["law"]}', "k", Caller("entry", "Bob")),
    ],
)
def test_an_entry_is_a_key_or_says_whose_key_it_is(tmp_path: Path, content: bytes, key: str, expected: Caller) -> None:
    (tmp_path / "entry").write_bytes(content)

    assert KeyStore(str(tmp_path)).caller(f"Bearer {key}") == expected


@pytest.mark.parametrize(
    ("content", "tried", "said"),
    [
        (b'{"key": null}', "None", "the key must be text"),
        (b'{"key": 12}', "12", "the key must be text"),
        (b'{"key": true}', "True", "the key must be text"),
        (b'{"key": {}}', "{}", "the key must be text"),
        (b'{"key": ""}', "None", "the key must be text"),
        (b'{"user": "Bob"}', "Bob", "the key must be text"),
        (b'{"key": "secret", "user": 7}', "secret", "user must be text"),
        (b'{"key": "secret"', '{"key": "secret"', "is not JSON"),
        (b'{"key":' * 100_000, "x", "is not JSON"),
        (b"secret\xff", "secret", "is not UTF-8"),
        (b" \n", "None", "the key must be text"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_wrong_entry_opens_nothing_and_is_named_without_its_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, tried: str, said: str
) -> None:
    (tmp_path / "bobs-entry").write_bytes(content)
    (tmp_path / "good").write_text("good-key")
    store = KeyStore(str(tmp_path))

    with caplog.at_level(logging.WARNING), pytest.raises(ApiError, match="not known"):
        store.caller(f"Bearer {tried}")
    assert "bobs-entry" in caplog.text
    assert said in caplog.text
    assert "secret" not in caplog.text
    assert store.caller("Bearer good-key").entry == "good"


def test_an_entry_that_is_swapped_away_while_it_is_looked_at_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "good").write_text(json.dumps({"key": "good-key"}))
    monkeypatch.setattr(Path, "is_file", lambda path: path.is_symlink() or path.exists())
    monkeypatch.setattr(access, "CHECK_SECONDS", 0.0)
    store = KeyStore(str(tmp_path))

    assert store.caller("Bearer good-key").entry == "good"
    assert not store.empty


def test_without_its_directory_a_service_has_no_key(tmp_path: Path) -> None:
    assert KeyStore(str(tmp_path / "nowhere")).empty
