"""Levels of theory of an archive: groups of calculations that agree, and differences between groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from redoxmd.engines.calculation import Level
from redoxmd.files.records import content_hash

STATED_HASH = "settings_hash"
# May differ within a level, and is part of its hash only if two levels differ in nothing else.
VARIABLE_TAG = "NUPDOWN"


@dataclass
class Group:
    """Calculations of one level.

    Attributes:
        level: common level, with every property that any of them states.
        settings_hash: of their frames; "" until the group is complete.
        members: indices in the archive.
    """

    level: Level
    settings_hash: str = ""
    members: list[int] = field(default_factory=list)

    def merge(self, group: Group) -> None:
        """Add the members of another group, and the properties that only its level states."""
        self.members = sorted([*self.members, *group.members])
        self.level = _merged_level(self.level, group.level)


def _merged_level(level: Level, further: Level) -> Level:
    """A level with the additional properties of another that agrees with it, except for a stated hash."""
    from redoxmd.engines.vasp.level import without_defaults

    own = {key: value for key, value in level.details.items() if value is not None}
    details = {key: value for key, value in further.details.items() if key != STATED_HASH} | own
    complete = level.complete or further.complete
    return replace(
        level,
        code=level.code or further.code,
        functional=level.functional or further.functional,
        cutoff_eV=level.cutoff_eV if level.cutoff_eV is not None else further.cutoff_eV,
        spin=level.spin if level.spin is not None else further.spin,
        hubbard=further.hubbard | level.hubbard,
        potentials=further.potentials | {element: title for element, title in level.potentials.items() if title},
        kpoint_reach_A=level.kpoint_reach_A or further.kpoint_reach_A,
        # A complete level omits tags with their default, an incomplete level states them.
        details=without_defaults(details) if complete else details,
        complete=complete,
    )


def level_hash(level: Level, *, whole: bool = False) -> str:
    """Hash of a level: the stated hash, else that of its content, which includes variable properties if `whole`."""
    record = asdict(level)
    del record["complete"]
    if not whole:
        record["kpoint_reach_A"] = None
        record["details"] = {key: value for key, value in level.details.items() if key != VARIABLE_TAG}
    return str(level.details.get(STATED_HASH) or content_hash(["level", record]))


def is_stated(level: Level) -> bool:
    """Whether a file states any property of its level besides the code."""
    return bool(level.functional or level.cutoff_eV or STATED_HASH in level.details)


def level_differences(level: Level, wanted: Level, wanted_hash: str = "") -> list[str]:
    """Differences between a level and the wanted one, a sentence each; empty if they agree.

    A level that is not stated agrees only with another such level of the same code. A level that states only a hash
    agrees with that hash.
    """
    from redoxmd.engines.vasp.level import differences

    if STATED_HASH in wanted.details and STATED_HASH not in level.details:
        return [_no_hash_text(level, wanted)]
    if STATED_HASH in level.details or STATED_HASH in wanted.details:
        hashes = str(level.details.get(STATED_HASH)), str(wanted_hash or wanted.details.get(STATED_HASH))
        return [] if hashes[0] == hashes[1] else [f"settings hash {hashes[0]} instead of {hashes[1]}"]
    if level.code != wanted.code:
        return [f"code {level.code or 'not stated'} against {wanted.code or 'not stated'}"]
    if is_stated(level) != is_stated(wanted):
        return ["states no level of theory" if is_stated(wanted) else "states a level of theory, the others none"]
    return differences(level, wanted)


def _no_hash_text(level: Level, wanted: Level) -> str:
    return (
        f"the level of {wanted.code or 'the others'} cannot be read from files, only its settings hash "
        f"{wanted.details[STATED_HASH]}, and this one ({level.code or 'no code'}) has none; import it without --config "
        "into a dataset of its own"
    )


def group_levels(levels: Sequence[Level | None], required: Group | None = None, *, trust: bool = False) -> list[Group]:
    """Groups of agreeing calculations, the required level first if there is one, else the largest.

    Args:
        levels: of each calculation; None if it could not be read.
        required: level to compare with; its group comes first even if empty.
        trust: assign the required level to calculations that state none.
    """
    groups: list[Group] = []
    for index, level in enumerate(levels):
        if level is not None:
            _add_to_groups(Group(level, members=[index]), groups)
    groups.sort(key=lambda group: -len(group.members))
    if required is not None:
        groups = [required, *groups]
        for group in groups[1:]:
            silent = trust and not is_stated(group.level) and group.level.code in ("", required.level.code)
            if silent or not level_differences(group.level, required.level, required.settings_hash):
                required.merge(group)
                groups.remove(group)
    return _with_hashes(groups)


def _add_to_groups(new: Group, groups: list[Group]) -> None:
    for group in groups:
        if not level_differences(new.level, group.level):
            group.merge(new)
            return
    groups.append(new)


def _with_hashes(groups: list[Group]) -> list[Group]:
    """Groups with their hashes; a group that states only a hash is merged with the group of that hash."""
    named: list[Group] = []
    for group in sorted(groups, key=lambda group: STATED_HASH in group.level.details):
        settings_hash = group.settings_hash or level_hash(group.level)
        twin = next((candidate for candidate in named if candidate.settings_hash == settings_hash), None)
        if twin is not None and STATED_HASH in group.level.details:
            twin.members = sorted([*twin.members, *group.members])
            continue
        group.settings_hash = settings_hash if twin is None else level_hash(group.level, whole=True)
        named.append(group)
    return [group for group in groups if any(group is candidate for candidate in named)]


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
