"""Names of structures: x, ordering, seed and supercell, from which a structure is built."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

from redoxmd.errors import StructureError
from redoxmd.structures.content import Ordering, content_text, parse_content

NAME = re.compile(
    rf"^x(?P<x>\d+\.\d{{3,6}})_(?P<ordering>{'|'.join(get_args(Ordering))})(?P<seed>\d+)_(?P<cell>\d+x\d+x\d+)$"
)


@dataclass(frozen=True)
class StructureRequest:
    """Specification of one structure.

    Attributes:
        x: mobile ions per formula unit.
        ordering: random over all sites, the preferred site first, or by electrostatic energy.
        seed: of the ordering.
        supercell: repeats of the source cell.
    """

    x: float
    ordering: Ordering
    seed: int
    supercell: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Name of the structure; see `structure_name`."""
        return structure_name(self.x, self.ordering, self.seed, self.supercell)


def structure_name(x: float, ordering: str, seed: int, supercell: Sequence[int]) -> str:
    """Name of a structure: x (see `content_text`), ordering and seed, supercell (x2.500_random3_1x1x1)."""
    return f"x{content_text(x)}_{ordering}{seed}_{cell_name(supercell)}"


def cell_name(supercell: Sequence[int]) -> str:
    """Repeats of the source cell as written in names and tables: 2x2x1."""
    return "x".join(map(str, supercell))


def parse_name(name: str) -> StructureRequest:
    """The specification that a structure name encodes.

    Raises:
        StructureError: the name is not one of `structure_name`.
    """
    match = NAME.match(name)
    if match is None:
        raise StructureError(f"{name}: not a structure name; an example is x2.500_random3_1x1x1")
    a, b, c = map(int, match["cell"].split("x"))
    ordering = cast(Ordering, match["ordering"])
    return StructureRequest(parse_content(match["x"]), ordering, int(match["seed"]), (a, b, c))
