"""Typed configuration: a YAML file per run, a validated model per section."""

from redoxmd.config.load import load_config, parse_config, read_config
from redoxmd.config.sections import Config

__all__ = ["Config", "load_config", "parse_config", "read_config"]
