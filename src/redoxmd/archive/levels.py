"""Levels of theory of an archive: groups of calculations that agree, and differences between groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from redoxmd.engines.calculation import Level
from redoxmd.engines.vasp.level import differences, without_defaults
from redoxmd.files.records import content_hash

STATED_HASH = "settings_hash"
# May differ within a level.
VARIABLE_TAG = "NUPDOWN"


@dataclass
class Group:
    """Calculations of one level.

    Attributes:
        level: common level, with every property that any of them states.
        settings_hash: of their frames; "" if it is not needed.
        members: indices in the archive.
    """

    level: Level
    settings_hash: str = ""
    members: list[int] = field(default_factory=list)

    def merge(self, group: Group) -> None:
        """Add the members of another group, and the properties but a hash that only its level states."""
        self.members = sorted([*self.members, *group.members])
        level, further = self.level, group.level
        own = {key: value for key, value in level.details.items() if value is not None}
        details = {key: value for key, value in further.details.items() if key != STATED_HASH} | own
        complete = level.complete or further.complete
        self.level = replace(
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


def level_hash(level: Level) -> str:
    """Hash of a level: the stated hash, else that of its content without properties that depend on the cell."""
    details = {key: value for key, value in level.details.items() if key != VARIABLE_TAG}
    record = asdict(replace(level, kpoint_reach_A=None, details=details))
    del record["complete"]
    return str(level.details.get(STATED_HASH) or content_hash(["level", record]))


def is_stated(level: Level) -> bool:
    """Whether a file states any property of its level besides the code."""
    return bool(level.functional or level.cutoff_eV or STATED_HASH in level.details)


def level_differences(level: Level, wanted: Level, wanted_hash: str = "") -> list[str]:
    """Differences between a level and the required one, a sentence each; empty if they agree.

    A level that is not stated agrees only with another such level of the same code. A level that states only a hash
    agrees with that hash.
    """
    if STATED_HASH in wanted.details and STATED_HASH not in level.details:
        return [
            f"the level of {wanted.code or 'the others'} cannot be read from files, only its settings hash "
            f"{wanted.details[STATED_HASH]}, and this one ({level.code or 'no code'}) has none; import it without "
            "--config into a dataset of its own"
        ]
    if STATED_HASH in level.details or STATED_HASH in wanted.details:
        hashes = str(level.details.get(STATED_HASH)), str(wanted_hash or wanted.details.get(STATED_HASH))
        return [] if hashes[0] == hashes[1] else [f"settings hash {hashes[0]} instead of {hashes[1]}"]
    if level.code != wanted.code:
        return [f"code {level.code or 'not stated'} against {wanted.code or 'not stated'}"]
    if is_stated(level) != is_stated(wanted):
        return ["states no level of theory" if is_stated(wanted) else "states a level of theory, the others none"]
    return differences(level, wanted)


def group_levels(levels: Sequence[Level | None], required: Group | None = None, *, trust: bool = False) -> list[Group]:
    """Groups of agreeing calculations: first, with its hash, the required level, else the largest group.

    Args:
        levels: of each calculation; None if it could not be read.
        required: level to compare with; its group comes first even if empty.
        trust: assign the required level to calculations that state none.
    """
    groups: list[Group] = []
    for index, level in enumerate(levels):
        if level is None:
            continue
        new = Group(level, members=[index])
        agreeing = next((group for group in groups if not level_differences(level, group.level)), None)
        if agreeing is None:
            groups.append(new)
        else:
            agreeing.merge(new)
    if required is None:
        # A group that states only a hash is merged with the group whose level has that hash.
        whole = {level_hash(group.level): group for group in groups if STATED_HASH not in group.level.details}
        for group in [group for group in groups if str(group.level.details.get(STATED_HASH)) in whole]:
            whole[level_hash(group.level)].merge(group)
            groups.remove(group)
    groups.sort(key=lambda group: -len(group.members))
    if required is not None:
        for group in list(groups):
            silent = trust and not is_stated(group.level) and group.level.code in ("", required.level.code)
            if silent or not level_differences(group.level, required.level, required.settings_hash):
                required.merge(group)
                groups.remove(group)
        groups.insert(0, required)
    if groups:
        groups[0].settings_hash = groups[0].settings_hash or level_hash(groups[0].level)
    return groups


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
