"""Which densities the model learns from, and which it is judged by: an index of stores, no copy of any grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redoxmd.dataset import read_dataset_card
from redoxmd.density.grid import Density
from redoxmd.density.store import density_keys, read_density, split_key
from redoxmd.errors import DataError
from redoxmd.seeds import derive_seed

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
) -> DensitySet:
    """Index every density of some stores.

    Configurations named as test are held out whole; of the others a share, drawn by key, is validation, and at least
    one when there are two or more.

    Args:
        stores: paths of density stores.
        test_configurations: configuration ids.
        validation_fraction: of the others.
        seed: of the draw.
        demand_test: whether a test configuration without any density is an error.

    Raises:
        DataError: a key is in two stores, a test configuration has no density, or nothing is left to train on.
    """
    found: dict[str, str] = {}
    for store in stores:
        for key in density_keys(store):
            if key in found:
                raise DataError(f"density {key} is both in {found[key]} and in {store}; leave one out")
            found[key] = str(store)
    sets = _split(sorted(found), test_configurations, validation_fraction, seed)
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


def _split(keys: Sequence[str], test: Sequence[str], fraction: float, seed: int) -> dict[str, str]:
    sets = {key: "test" for key in keys if split_key(key)[0] in test}
    lots = {key: derive_seed(seed, "density validation", key) / 2**63 for key in keys if key not in sets}
    for key, lot in lots.items():
        sets[key] = "validation" if lot < fraction else "train"
    if len(lots) > 1 and "validation" not in sets.values():
        sets[min(lots, key=lambda key: lots[key])] = "validation"
    return sets


def stores_of_datasets(folders: Sequence[Path]) -> list[str]:
    """Density stores that dataset folders list in their cards."""
    names = [(folder, name) for folder in folders for name in read_dataset_card(folder)["files"]]
    return [str(folder / name) for folder, name in names if name.endswith(".h5")]
