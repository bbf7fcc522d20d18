"""Reads the operator's settings file."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from hearth.plan.settings import Settings


class SettingsError(Exception):
    """The settings file is missing or wrong; the message says where and what was expected."""


def read_settings(path: Path) -> Settings:
    """The settings in a YAML file."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}; pass --settings FILE or set HEARTH_SETTINGS to the file"
        ) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected a mapping with the key images, found {type(content).__name__}")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        lines = [f"  {'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise SettingsError("\n".join([f"{path} does not hold valid settings:", *lines])) from error
