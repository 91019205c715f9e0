"""Verdict on the electronic state of stored densities, with their oxidation states."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from redoxmd.charges.bader import partition
from redoxmd.density.grid import Density
from redoxmd.density.store import density_keys, is_named, read_density, split_key
from redoxmd.electrons.states import OxidationLevels, judge_state
from redoxmd.errors import ConfigError, DataError, LabelRefusal, LabelRefused, StructureError

logger = logging.getLogger("redoxmd")


@dataclass(frozen=True)
class DensityStates:
    """Verdicts on the densities of some stores.

    Attributes:
        oxidation: key → oxidation states (n,) of each accepted density.
        left_out: {"config_id", "step", "reason", "detail"} of each density in a wrong electronic state.
    """

    oxidation: dict[str, list[int]] = field(default_factory=dict)
    left_out: list[dict[str, Any]] = field(default_factory=list)


def judge_densities(
    stores: Iterable[str | Path], levels: OxidationLevels, excluded: Collection[str] = ()
) -> DensityStates:
    """Verdict on every density of some stores, by the rules of the training set of the potentials.

    Args:
        stores: paths of density stores.
        levels: states of the redox elements.
        excluded: configurations, or frames as CONFIG_ID/STEP, that are not judged.

    Raises:
        DataError: no oxidation states make a cell neutral, or an element has no oxidation number.
    """
    states = DensityStates()
    for store in stores:
        for key in density_keys(store):
            if is_named(key, excluded):
                continue
            try:
                states.oxidation[key] = density_oxidation(read_density(store, key), levels).tolist()
            except (StructureError, ConfigError) as error:
                raise DataError(f"density {key} of {store}: {error}") from error
            except LabelRefused as refused:
                logger.warning("density %s is left out, %s: %s", key, refused.reason, refused.detail)
                config_id, step = split_key(key)
                record = {"config_id": config_id, "step": step, "reason": refused.reason, "detail": refused.detail}
                states.left_out.append(record)
    return states


def density_oxidation(density: Density, levels: OxidationLevels) -> np.ndarray:
    """Oxidation states (n,) of a density in a clean electronic state.

    They are those of the on-site moments of its calculation; without these, those of its Bader moments.

    Raises:
        LabelRefused: wrong_electronic_state, also if the density has neither on-site moments nor spin.
        StructureError, ConfigError: as `judge_state`.
    """
    moments_muB = density.moments_muB
    if moments_muB is None:
        if not density.spin_e_A3.any():
            raise LabelRefused(
                LabelRefusal.WRONG_ELECTRONIC_STATE,
                "no moments and no spin density, which show the oxidation states; import a spin-polarised calculation",
            )
        moments_muB = partition(density).moment_muB
    return judge_state(list(density.atoms.symbols), moments_muB, density.moment_muB, levels).oxidation
