"""Environments for the settings to be read from."""

import os
from collections.abc import Mapping
from unittest.mock import patch

from stedi_assets.settings import Settings, read_settings


def settings_of(variables: Mapping[str, str]) -> Settings:
    """Return the settings of an environment that has these variables, and no others."""
    with patch.dict(os.environ, variables, clear=True):
        return read_settings()


def own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
