"""Runs with too few consecutive frames for some checks of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ase import Atoms

from redoxmd.train.audit.energy import FEWEST_INTERVALS
from redoxmd.train.audit.smooth import SHORTEST_STRETCH

# Check of `redoxmd.train.audit.run.check_run` → number of frames one step apart that it needs.
FRAMES_NEEDED = {
    "jumps and work balance": 2,
    "course of forces and path": SHORTEST_STRETCH,
    "energies of other frames": FEWEST_INTERVALS + 1,
}


def too_short(frames: Sequence[Atoms]) -> dict[str, list[str]]:
    """Check → configurations with too few frames one step apart for it; checks applied to all runs are omitted."""
    steps: dict[str, list[int]] = {}
    for frame in frames:
        md_steps = steps.setdefault(str(frame.info["config_id"]), [])
        # Steps of a relaxation are not neighbours in time.
        if frame.info.get("md", True):
            md_steps.append(int(frame.info["step"]))
    longest = {name: _longest_stretch(sorted(md_steps)) for name, md_steps in steps.items()}
    unchecked = {
        check: [name for name, length in longest.items() if length < needed] for check, needed in FRAMES_NEEDED.items()
    }
    return {check: names for check, names in unchecked.items() if names}


def _longest_stretch(steps: Sequence[int]) -> int:
    longest = length = 1
    for before, after in pairwise(steps):
        length = length + 1 if after == before + 1 else 1
        longest = max(longest, length)
    return longest
