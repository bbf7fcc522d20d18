"""Texts that look alike take little room, however long they are."""

import random

import pytest
from hearth.kube.codec import LONG, WINDOW, Codec


def scripts(length: int) -> str:
    """A text in which nothing repeats."""
    dice = random.Random(0)
    return "".join(dice.choices("abcdefghijklmnopqrstuvwxyz ", k=length))


def config_map(name: str, length: int) -> bytes:
    return f'{{"data":"{scripts(length)}","metadata":{{"name":"{name}"}}}}'.encode()


@pytest.mark.parametrize("length", [300, LONG - 100, LONG + 100, WINDOW - 100, WINDOW + 100, 3 * WINDOW])
def test_a_text_that_was_seen_before_under_another_name_takes_a_few_bytes(length: int) -> None:
    codec = Codec()
    first, second = config_map("a", length), config_map("bcd", length)
    blobs = codec.encode(first), codec.encode(second)
    assert [codec.decode(blob) for blob in blobs] == [first, second]
    assert len(blobs[1]) < 200


@pytest.mark.parametrize("length", [0, 1, 40, WINDOW, 2 * WINDOW])
def test_a_text_like_no_other_comes_back_whole(length: int) -> None:
    codec = Codec()
    codec.encode(config_map("a", 2 * WINDOW))
    other = random.Random(1).randbytes(length)
    assert codec.decode(codec.encode(other)) == other
