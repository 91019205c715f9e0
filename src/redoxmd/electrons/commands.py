"""The command `redoxmd states`."""

from __future__ import annotations

import argparse
from pathlib import Path

# Na_xV2(PO4)3: moments of GPAW and VASP with PBE+U.
LEVELS = "V3=1.85,V4=1.05"
OXIDATION_NUMBERS = "Na=1,P=5,O=-2"


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `states`."""
    text = "oxidation states of the redox atoms in finished calculations, from their moments under charge neutrality"
    command = commands.add_parser("states", help=text, description=text)
    command.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="files, or folders to search, as for import"
    )
    text = f"element, oxidation number and |on-site moment| in μB of each state (default {LEVELS})"
    command.add_argument("--levels", default=LEVELS, metavar="STATES", help=text)
    text = f"oxidation numbers of all other elements (default {OXIDATION_NUMBERS})"
    command.add_argument("--oxidation", default=OXIDATION_NUMBERS, metavar="NUMBERS", help=text)
    command.add_argument("--to", type=Path, metavar="FILE", help="CSV to write, one row per frame")
    command.set_defaults(command=_states)


def _states(options: argparse.Namespace) -> int:
    from redoxmd.electrons.parsing import parse_levels
    from redoxmd.electrons.table import summarise_states, tabulate_states
    from redoxmd.files.records import write_text

    report = tabulate_states(options.paths, parse_levels(options.levels, options.oxidation))
    if options.to is not None:
        write_text(options.to, report.table.to_csv(index=False, float_format="%.6g"))
    print("\n".join(summarise_states(report)))
    return 0 if len(report.table) else 1
