"""Levels of theory of an archive: which calculations agree, and what the others differ in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from redoxmd.engines.calculation import Level
from redoxmd.files.records import content_hash

GIVEN = "settings_hash"
# What may differ within a level, and so is no part of its name unless two levels differ in nothing else.
LOOSE = "NUPDOWN"


@dataclass
class Group:
    """Calculations of one level.

    Attributes:
        level: what they have in common: of every element and setting what any of them states.
        settings_hash: what their frames carry; "" until the group is complete.
        members: their places in the archive.
    """

    level: Level
    settings_hash: str = ""
    members: list[int] = field(default_factory=list)

    def take(self, other: Group) -> None:
        """Join another group, and learn from it what is not known yet."""
        self.members = sorted([*self.members, *other.members])
        self.level = _joined(self.level, other.level)


def _joined(known: Level, further: Level) -> Level:
    """A level with what another, that agrees with it, says besides; a hash stays with the file that gives it."""
    from redoxmd.engines.vasp.level import without_defaults

    own = {key: value for key, value in known.details.items() if value is not None}
    details = {key: value for key, value in further.details.items() if key != GIVEN} | own
    complete = known.complete or further.complete
    return replace(
        known,
        code=known.code or further.code,
        functional=known.functional or further.functional,
        cutoff_eV=known.cutoff_eV if known.cutoff_eV is not None else further.cutoff_eV,
        spin=known.spin if known.spin is not None else further.spin,
        hubbard=further.hubbard | known.hubbard,
        potentials=further.potentials | {element: title for element, title in known.potentials.items() if title},
        kpoint_reach_A=known.kpoint_reach_A or further.kpoint_reach_A,
        # What a complete level does not list has its default, which an incomplete one states.
        details=without_defaults(details) if complete else details,
        complete=complete,
    )


def level_hash(level: Level, *, whole: bool = False) -> str:
    """Identity of a level: the hash its file gives, else that of its content, but for what may differ within it."""
    record = asdict(level)
    del record["complete"]
    if not whole:
        record["kpoint_reach_A"] = None
        record["details"] = {key: value for key, value in level.details.items() if key != LOOSE}
    return str(level.details.get(GIVEN) or content_hash(["level", record]))


def is_stated(level: Level) -> bool:
    """Whether a file says anything of its level beyond the name of a code."""
    return bool(level.functional or level.cutoff_eV or GIVEN in level.details)


def level_differences(found: Level, wanted: Level, wanted_hash: str = "") -> list[str]:
    """What a level differs in from the one wanted, in words; none when they agree.

    A level that is not stated agrees only with another such level of the same code: an unknown method is no method. One
    of which only a hash is given agrees with that hash.
    """
    from redoxmd.engines.vasp.level import differences

    if GIVEN in wanted.details and GIVEN not in found.details:
        return [_no_hash(found, wanted)]
    if GIVEN in found.details or GIVEN in wanted.details:
        hashes = str(found.details.get(GIVEN)), str(wanted_hash or wanted.details.get(GIVEN))
        return [] if hashes[0] == hashes[1] else [f"settings hash {hashes[0]} instead of {hashes[1]}"]
    if found.code != wanted.code:
        return [f"code {found.code or 'not stated'} against {wanted.code or 'not stated'}"]
    if is_stated(found) != is_stated(wanted):
        return ["states no level of theory" if is_stated(wanted) else "states a level of theory, the others none"]
    return differences(found, wanted)


def _no_hash(found: Level, wanted: Level) -> str:
    return (
        f"the level of {wanted.code or 'the others'} cannot be read from files, only its settings hash "
        f"{wanted.details[GIVEN]}, and this one ({found.code or 'no code'}) has none; import it without --config "
        "into a dataset of its own"
    )


def group_levels(levels: Sequence[Level | None], demanded: Group | None = None, *, trust: bool = False) -> list[Group]:
    """Groups of agreeing calculations, the demanded level first where there is one, else the largest.

    Args:
        levels: of each calculation, None where it could not be read.
        demanded: a level all are held against; its group comes first even when empty.
        trust: calculations that state no level are of the demanded one.
    """
    groups: list[Group] = []
    for index, level in enumerate(levels):
        if level is not None:
            _sort_in(Group(level, members=[index]), groups)
    groups.sort(key=lambda group: -len(group.members))
    if demanded is not None:
        chosen, groups = demanded, [demanded, *groups]
        for group in groups[1:]:
            silent = trust and not is_stated(group.level) and group.level.code in ("", chosen.level.code)
            if silent or not level_differences(group.level, chosen.level, chosen.settings_hash):
                chosen.take(group)
                groups.remove(group)
    return _named(groups)


def _sort_in(new: Group, groups: list[Group]) -> None:
    for group in groups:
        if not level_differences(new.level, group.level):
            group.take(new)
            return
    groups.append(new)


def _named(groups: list[Group]) -> list[Group]:
    """Give each group its hash; a group that only has a hash joins the one of that hash."""
    named: list[Group] = []
    for group in sorted(groups, key=lambda group: GIVEN in group.level.details):
        found = group.settings_hash or level_hash(group.level)
        twin = next((other for other in named if other.settings_hash == found), None)
        if twin is not None and GIVEN in group.level.details:
            twin.members = sorted([*twin.members, *group.members])
            continue
        group.settings_hash = found if twin is None else level_hash(group.level, whole=True)
        named.append(group)
    return [group for group in groups if any(group is other for other in named)]


def level_record(level: Level) -> dict[str, Any]:
    """A level as plain data for the card of a dataset."""
    record = asdict(level)
    record["hubbard"] = {element: [orbital, u] for element, (orbital, u) in level.hubbard.items()}
    if level.kpoint_reach_A is not None:
        record["kpoint_reach_A"] = round(level.kpoint_reach_A, 3)
    if not level.complete:
        del record["complete"]
    return {key: value for key, value in record.items() if value not in (None, "", {})}


def read_level(record: dict[str, Any]) -> Level:
    """The level of a card; see `level_record`."""
    hubbard = {element: (str(pair[0]), float(pair[1])) for element, pair in record.get("hubbard", {}).items()}
    return Level(**{"code": "", **record, "hubbard": hubbard})
