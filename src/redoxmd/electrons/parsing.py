"""Levels and oxidation numbers from the text of command line options."""

from __future__ import annotations

import re

from redoxmd.electrons.states import OxidationLevels
from redoxmd.errors import ConfigError


def parse_levels(levels: str, oxidation_numbers: str) -> OxidationLevels:
    """Levels from text such as "V3=1.85,V4=1.05" and "Na=1,P=5,O=-2".

    Raises:
        ConfigError: an entry of another form; the message quotes it.
    """
    moments: dict[str, dict[int, float]] = {}
    for entry in levels.split(","):
        match = re.fullmatch(r"\s*([A-Z][a-z]?)(\d+)\s*=\s*(\d+(?:\.\d*)?|\.\d+)\s*", entry)
        if match is None:
            raise ConfigError(f"--levels: {entry.strip()!r} is not of the form V3=1.85 (element, state, moment in μB)")
        states = moments.setdefault(match[1], {})
        if int(match[2]) in states or float(match[3]) in states.values():
            raise ConfigError(f"--levels: {entry.strip()!r} repeats a state or a moment of {match[1]}; give each once")
        states[int(match[2])] = float(match[3])
    fixed = parse_oxidation_numbers(oxidation_numbers)
    both = sorted(moments.keys() & fixed.keys())
    if both:
        raise ConfigError(f"--oxidation: {both[0]} has states in --levels; leave it out of one of them")
    return OxidationLevels(moments, fixed)


def parse_oxidation_numbers(text: str) -> dict[str, int]:
    """Oxidation numbers by element from text such as "Na=1,P=5,O=-2".

    Raises:
        ConfigError: an entry of another form; the message quotes it.
    """
    fixed: dict[str, int] = {}
    for entry in filter(str.strip, text.split(",")):
        match = re.fullmatch(r"\s*([A-Z][a-z]?)\s*=\s*([+-]?\d+)\s*", entry)
        if match is None:
            raise ConfigError(f"--oxidation: {entry.strip()!r} is not of the form Na=1 (element, oxidation number)")
        fixed[match[1]] = int(match[2])
    return fixed
