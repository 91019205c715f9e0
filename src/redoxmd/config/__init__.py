"""Typed configuration: one model per stage, one file per run."""

from redoxmd.config.load import load_config, parse_config, read_config, with_settings
from redoxmd.config.sections import Config

__all__ = ["Config", "load_config", "parse_config", "read_config", "with_settings"]
