"""Space groups of CIFs that name a group and do not list its operations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from redoxmd.errors import StructureError

OPERATIONS = re.compile(r"^\s*_(symmetry_equiv_pos_as_xyz|space_group_symop_operation_xyz)\b", re.MULTILINE)
SYMBOL = re.compile(r"^\s*_(?:symmetry_)?space_group_name_H-M(?:_alt)?[ \t]+(?:'(.*)'|\"(.*)\"|(\S+))", re.MULTILINE)
NUMBER = re.compile(r"^\s*_(?:symmetry_Int_Tables|space_group_IT)_number[ \t]+(\d+)", re.MULTILINE)
GAMMA = re.compile(r"^\s*_cell_angle_gamma[ \t]+([\d.]+)", re.MULTILINE)
HEXAGONAL_DEG = 120.0
# Of pymatgen, if it has taken the operations from the symbol.
USED_SYMBOL = "Spacegroup from"


def check_space_group(text: str, path: str, reader_warnings: Iterable[str]) -> None:
    """Refuse a CIF without symmetry operations whose space group does not determine them.

    A symbol does not say which of two origins the coordinates have, and for a symbol that pymatgen does not know it
    assumes P 1 or the standard setting of the group's number.

    Args:
        text: content of the file.
        path: of the file, for the message.
        reader_warnings: warnings of pymatgen.

    Raises:
        StructureError: the group has two origins, is rhombohedral in a cell that is not hexagonal, or is not known.
    """
    if OPERATIONS.search(text):
        return
    symbol, number = SYMBOL.search(text), NUMBER.search(text)
    name = "" if symbol is None else next(filter(None, symbol.groups()), "").strip(" ?.")
    group = int(number[1]) if number else _numbers().get(re.sub(r"[\s_]", "", name.partition(":")[0]), 0)
    gamma, settings = GAMMA.search(text), _settings().get(group, set())
    reason = ""
    if "2" in settings:
        reason = "which has two origins"
    elif "R" in settings and gamma and float(gamma[1]) != HEXAGONAL_DEG:
        reason = "whose symbol stands for hexagonal axes, which the cell does not have"
    elif name and len(settings) != 1 and not any(USED_SYMBOL in line for line in reader_warnings):
        reason = "a symbol that is not known"
    if reason:
        raise StructureError(
            f"structures.source: {path} names the space group {name or group}, {reason}, and lists no symmetry "
            "operations; write them into the file (_symmetry_equiv_pos_as_xyz), or give the cell in P 1"
        )


@cache
def _settings() -> dict[int, set[str]]:
    """Settings of each group in the International Tables: 1 and 2 for two origins, H and R for two kinds of axes."""
    import spglib

    settings: dict[int, set[str]] = {}
    for hall in range(1, 531):
        kind = spglib.get_spacegroup_type(hall)
        settings.setdefault(kind.number, set()).add(kind.choice)
    return settings


@cache
def _numbers() -> dict[str, int]:
    """Number of a group by its short symbol without spaces."""
    import spglib

    kinds = map(spglib.get_spacegroup_type, range(1, 531))
    return {kind.international_short.replace("_", "").replace(" ", ""): kind.number for kind in kinds}
