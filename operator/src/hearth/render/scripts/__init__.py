"""Programs that run inside other images with nothing but Python's standard library.

They travel to the pods in ConfigMaps, so that an engine image needs no code of ours.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def script(name: str) -> str:
    """The text of one of the programs, for example `inspect_model.py`."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
