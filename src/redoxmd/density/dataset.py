"""Training, validation and test sets of densities: an index of stores, without a copy of any grid."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from redoxmd.density.grid import Density
from redoxmd.density.store import density_key, density_keys, is_named, read_density, split_key
from redoxmd.errors import DataError
from redoxmd.seeds import derive_seed
from redoxmd.train.dataset import read_dataset_card
from redoxmd.train.split import FEWEST_CONFIGURATIONS

if TYPE_CHECKING:
    from redoxmd.charges.density_states import DensityStates

SETS = ("train", "validation", "test")


@dataclass(frozen=True)
class Entry:
    """One density.

    Attributes:
        store, key: where it is.
        set: that it belongs to.
        oxidation: (n,) its judged oxidation states (`charges.density_states`); None if states are not judged.
    """

    store: str
    key: str
    set: str
    oxidation: Sequence[int] | None = None

    def read(self) -> Density:
        """The density, with the judged states instead of those in the store."""
        density = read_density(self.store, self.key)
        return replace(density, oxidation=None if self.oxidation is None else np.array(self.oxidation))

    def record(self) -> dict[str, Any]:
        """Plain data; without states as earlier versions wrote it."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class DensitySet:
    """Densities that are read from their stores one at a time.

    Attributes:
        entries: store, key and set of each density.
    """

    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Density]:
        return (entry.read() for entry in self.entries)

    def items(self) -> Iterator[tuple[str, Density]]:
        """(key, density) pairs."""
        return ((entry.key, entry.read()) for entry in self.entries)

    def subset(self, *names: str) -> DensitySet:
        """Densities of the named sets."""
        return DensitySet(tuple(entry for entry in self.entries if entry.set in names))

    def counts(self) -> dict[str, int]:
        """Number of densities in each set."""
        return {name: len(self.subset(name)) for name in SETS}

    def record(self) -> list[dict[str, Any]]:
        """The entries as plain data, the input of `from_record`."""
        return [entry.record() for entry in self.entries]

    @classmethod
    def from_record(cls, record: Sequence[dict[str, Any]]) -> DensitySet:
        """Rebuild a set from `record`."""
        return cls(tuple(Entry(**item) for item in record))


def index_densities(
    stores: Iterable[str | Path],
    test_configurations: Sequence[str],
    validation_fraction: float,
    seed: int,
    demand_test: bool = True,
    groups: Mapping[str, str] | None = None,
    excluded: Collection[str] = (),
    validation_configurations: Collection[str] = (),
    states: DensityStates | None = None,
    demand_training: bool = True,
) -> DensitySet:
    """Index the densities of several stores and divide them into sets.

    The test configurations and all their symmetry copies form the test set. The validation set consists of the
    validation configurations that have densities, with their symmetry copies. If none of them has densities, each group
    of symmetry copies is drawn for validation with probability `validation_fraction`, at least one group; with fewer
    than `redoxmd.train.split.FEWEST_CONFIGURATIONS` groups, single densities are drawn instead.

    Args:
        stores: paths of density stores.
        validation_fraction: share of the densities outside the test set.
        demand_test: whether a test configuration without any density is an error.
        groups: configuration id → its group (`redoxmd.train.split.Configuration`); by default its own.
        excluded: configurations, or frames as CONFIG_ID/STEP, that enter no set.
        validation_configurations: configuration ids; those without densities are ignored.
        states: verdicts on the densities; those in a wrong electronic state enter no set. None: not judged.
        demand_training: whether it is an error that no density is left for training.

    Raises:
        DataError: a key is in two stores, a test configuration has no density, or no density remains to train on.
    """
    store_by_key: dict[str, str] = {}
    wrong = {} if states is None else {density_key(item["config_id"], item["step"]): item for item in states.left_out}
    for store in stores:
        for key in density_keys(store):
            if is_named(key, excluded) or key in wrong:
                continue
            if key in store_by_key:
                raise DataError(f"density {key} is both in {store_by_key[key]} and in {store}; leave one out")
            store_by_key[key] = str(store)
    group_of = {key: (groups or {}).get(split_key(key)[0], split_key(key)[0]) for key in sorted(store_by_key)}
    sets = _split(group_of, test_configurations, validation_configurations, validation_fraction, seed)
    oxidation = {} if states is None else states.oxidation
    entries = DensitySet(
        tuple(Entry(store, key, sets[key], oxidation.get(key)) for key, store in sorted(store_by_key.items()))
    )
    refused = f" ({len(wrong)} are in a wrong electronic state; the log lists them with reasons)" if wrong else ""
    missing = set(test_configurations) - {split_key(key)[0] for key in store_by_key}
    if missing and demand_test:
        available = sorted({split_key(key)[0] for key in store_by_key})
        raise DataError(
            f"density.test_configurations: no densities of {sorted(missing)}, only of {available}{refused}; name "
            "others, or give []"
        )
    if demand_training and not len(entries.subset("train")):
        raise DataError(
            f"no density to train on{refused}: keep some (aimd.density_every), name density.stores, or set "
            "density.enabled false"
        )
    return entries


def _split(
    group_of: Mapping[str, str], test: Collection[str], validation: Collection[str], fraction: float, seed: int
) -> dict[str, str]:
    """Set of every density by key; `group_of` maps keys to groups of symmetry copies."""
    test_groups = {group for key, group in group_of.items() if split_key(key)[0] in test}
    learning_keys = [key for key in group_of if group_of[key] not in test_groups]
    validation_units = {group_of[key] for key in learning_keys if split_key(key)[0] in validation}
    units = group_of
    if not validation_units:
        if len({group_of[key] for key in learning_keys}) < FEWEST_CONFIGURATIONS:
            units = {key: key for key in group_of}
        ranks = {units[key]: derive_seed(seed, "density validation", units[key]) / 2**63 for key in learning_keys}
        validation_units = {unit for unit, rank in ranks.items() if rank < fraction}
        if len(ranks) > 1 and not validation_units:
            validation_units = {min(ranks, key=lambda unit: ranks[unit])}
    return {
        key: "test" if group_of[key] in test_groups else "validation" if units[key] in validation_units else "train"
        for key in group_of
    }


def stores_of_datasets(folders: Sequence[Path]) -> list[str]:
    """Paths of the density stores that the cards of dataset folders list."""
    names = [(folder, name) for folder in folders for name in read_dataset_card(folder)["files"]]
    return [str(folder / name) for folder, name in names if name.endswith(".h5")]
