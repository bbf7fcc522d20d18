"""Reads the operator's settings: from its mounted file, or from a text."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from hearth.plan.settings import Settings


class SettingsError(Exception):
    """The settings are missing or wrong; the message says where and what was expected."""


def read_settings(path: Path) -> Settings:
    """The settings in a YAML file.

    Raises SettingsError where there is no such file, or its content is wrong.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}; pass --settings FILE or set HEARTH_SETTINGS to the file"
        ) from error
    return parse_settings(text, str(path))


def parse_settings(text: str, name: str) -> Settings:
    """The settings in a YAML text; `name` says in messages where it is from.

    Raises SettingsError where the content is wrong.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{name} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{name}: expected a mapping with the key images, found {type(content).__name__}")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        lines = [f"  {'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise SettingsError("\n".join([f"{name} does not hold valid settings:", *lines])) from error
