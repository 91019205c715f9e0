"""Which densities the model learns from, and which it is judged by: an index of stores, no copy of any grid."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redoxmd.density.grid import Density
from redoxmd.density.store import density_keys, read_density, split_key
from redoxmd.errors import DataError
from redoxmd.seeds import derive_seed
from redoxmd.train.dataset import read_dataset_card
from redoxmd.train.split import FEWEST_CONFIGURATIONS

SETS = ("train", "validation", "test")


@dataclass(frozen=True)
class Entry:
    """A density in its store and the set it belongs to."""

    store: str
    key: str
    set: str


@dataclass(frozen=True)
class DensitySet:
    """Densities read one at a time, as often as wanted.

    Attributes:
        entries: where they are.
    """

    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Density]:
        return (read_density(entry.store, entry.key) for entry in self.entries)

    def items(self) -> Iterator[tuple[str, Density]]:
        """(key, density) pairs."""
        return ((entry.key, read_density(entry.store, entry.key)) for entry in self.entries)

    def part(self, *names: str) -> DensitySet:
        """Those of some sets."""
        return DensitySet(tuple(entry for entry in self.entries if entry.set in names))

    def counts(self) -> dict[str, int]:
        """Number of densities in each set."""
        return {name: len(self.part(name)) for name in SETS}

    def record(self) -> list[dict[str, str]]:
        """Plain data; see `from_record`."""
        return [vars(entry) for entry in self.entries]

    @classmethod
    def from_record(cls, record: Sequence[dict[str, Any]]) -> DensitySet:
        """Rebuild from `record`."""
        return cls(tuple(Entry(**item) for item in record))


def index_densities(
    stores: Iterable[str | Path],
    test_configurations: Sequence[str],
    validation_fraction: float,
    seed: int,
    demand_test: bool = True,
    groups: Mapping[str, str] | None = None,
    left_out: Collection[str] = (),
    validation_configurations: Collection[str] = (),
) -> DensitySet:
    """Index every density of some stores.

    Configurations named as test are held out whole, with their symmetry copies. The validation set consists of the
    validation configurations that have densities, with their symmetry copies. If none has any, each group of symmetry
    copies is drawn for validation with a probability of `validation_fraction`, at least one of them; with fewer than
    `redoxmd.train.split.FEWEST_CONFIGURATIONS` groups single densities are drawn instead.

    Args:
        stores: paths of density stores.
        test_configurations: configuration ids.
        validation_fraction: of the others.
        seed: of the draw.
        demand_test: whether a test configuration without any density is an error.
        groups: configuration id → its group (`redoxmd.train.split.Configuration`); by default its own.
        left_out: configurations, or frames as CONFIG_ID/STEP, that are no training data.
        validation_configurations: configuration ids, of which those without densities are ignored.

    Raises:
        DataError: a key is in two stores, a test configuration has no density, or nothing is left to train on.
    """
    found: dict[str, str] = {}
    for store in stores:
        for key in density_keys(store):
            config_id, step = split_key(key)
            if config_id in left_out or f"{config_id}/{step}" in left_out:
                continue
            if key in found:
                raise DataError(f"density {key} is both in {found[key]} and in {store}; leave one out")
            found[key] = str(store)
    group_of = {key: (groups or {}).get(split_key(key)[0], split_key(key)[0]) for key in sorted(found)}
    sets = _split(group_of, test_configurations, validation_configurations, validation_fraction, seed)
    entries = DensitySet(tuple(Entry(found[key], key, sets[key]) for key in sorted(found)))
    missing = set(test_configurations) - {split_key(key)[0] for key in found}
    if missing and demand_test:
        known = sorted({split_key(key)[0] for key in found})
        raise DataError(
            f"density.test_configurations: no densities of {sorted(missing)}, only of {known}; name others, or give []"
        )
    if not len(entries.part("train")):
        raise DataError(
            "no density to train on: keep some (aimd.density_every), name density.stores, or set density.enabled false"
        )
    return entries


def _split(
    group_of: Mapping[str, str], test: Collection[str], validation: Collection[str], fraction: float, seed: int
) -> dict[str, str]:
    """The set of every density by its key; `group_of` gives the group of symmetry copies it belongs to."""
    test_groups = {group for key, group in group_of.items() if split_key(key)[0] in test}
    others = [key for key in group_of if group_of[key] not in test_groups]
    named = {group_of[key] for key in others if split_key(key)[0] in validation}
    units = group_of
    if not named:
        if len({group_of[key] for key in others}) < FEWEST_CONFIGURATIONS:
            units = {key: key for key in group_of}
        ranks = {units[key]: derive_seed(seed, "density validation", units[key]) / 2**63 for key in others}
        named = {unit for unit, rank in ranks.items() if rank < fraction}
        if len(ranks) > 1 and not named:
            named = {min(ranks, key=lambda unit: ranks[unit])}
    return {
        key: "test" if group_of[key] in test_groups else "validation" if units[key] in named else "train"
        for key in group_of
    }


def stores_of_datasets(folders: Sequence[Path]) -> list[str]:
    """Density stores that dataset folders list in their cards."""
    names = [(folder, name) for folder in folders for name in read_dataset_card(folder)["files"]]
    return [str(folder / name) for folder, name in names if name.endswith(".h5")]
