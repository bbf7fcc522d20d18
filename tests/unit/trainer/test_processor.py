"""What the processor says about itself."""

from pathlib import Path

import pytest
from hearth_trainer.processor import has_bfloat16


@pytest.mark.parametrize(
    ("text", "able"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu avx2 amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_used_where_the_processor_has_it(text: str, able: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bfloat16(tmp_path / "cpuinfo") is able


def test_a_machine_that_says_nothing_has_none(tmp_path: Path) -> None:
    assert not has_bfloat16(tmp_path / "nowhere")
