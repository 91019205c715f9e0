"""Section `structures`, and the starting structures that other sections ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from redoxmd.config.sections.base import Content, Count, Positive, Section, Use
from redoxmd.structures.content import Ordering

# Settings whose defaults hold for Na_xV2(PO4)3 only.
OF_THE_MATERIAL = ("mobile_ion", "redox_element", "formula_units", "preferred_site", "moments_muB", "moments_x")
READ_BY = (
    *("structure", "pretrain", "dataset", "jumps", "neb_event", "charges", "redox", "hops"),
    *("fig10_jump", "orderings", "paper_comparison"),
)
ADDED = Use(*READ_BY, added=True)
Vector = tuple[int, int, int]


class Start(Section):
    """Starting structures of one concentration: one per seed."""

    x: Content = Field(description="mobile ions per formula unit: 2.5, or a fraction as text, 2/3")
    ordering: Ordering = Field(
        default="random",
        description="random: over all sites; preferred: the preferred site is filled first, the other sites at random; "
        "electrostatic: by the electrostatic energy of formal charges, seed 0 the lowest, seed 1 the next",
    )
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="one structure for each seed of an ordering")


class Structures(Section):
    """Cells, orderings of the mobile ion, supercells, volume and initial moments."""

    read_by: ClassVar = READ_BY

    source: str = Field(
        default="nvp",
        description="nvp (built in), or a CIF/POSCAR file with every site of the mobile ion; a file needs mobile_ion, "
        "redox_element, formula_units, preferred_site, moments_muB and moments_x, of which the defaults are nvp's",
    )
    mobile_ion: str = Field(default="Na", description="element with variable x")
    cell_matrix: Annotated[tuple[Vector, Vector, Vector] | None, ADDED] = Field(
        default=None,
        description="cell vectors of the source cell in multiples of those of the file, one per row; null: the cell of "
        "the file. formula_units, k-points and supercells refer to the source cell, sites and spin_down to the file",
    )
    framework_seed: Annotated[int, ADDED] = Field(
        default=0,
        ge=0,
        description="seed by which framework sites of mixed occupancy in a CIF obtain one element each, in the numbers "
        "that their occupancies give",
    )
    redox_element: str | None = Field(
        default="V",
        description="element that changes its oxidation state; null: none (a solid electrolyte), without moments",
    )
    formula_units: Count = Field(default=2, description="formula units in the source cell")
    sites: dict[str, tuple[int | str, ...]] | None = Field(
        default=None,
        description="sites of the mobile ion as atom indices (from 0) or CIF labels; null: by symmetry, "
        "named Na1, Na2, …",
    )
    preferred_site: str = Field(default="Na1", description="site that the ordering `preferred` fills first")
    formal_charges: Annotated[dict[str, float] | None, Use("structure", added=True)] = Field(
        default=None,
        description="charge of each element, for the ordering `electrostatic`; if the redox element is left out, its "
        "atoms have the charge that makes the cell neutral; null: the most likely oxidation states by pymatgen",
    )
    volume_A3_per_fu: dict[float, Positive] | None = Field(
        default=None,
        description="cell volume per formula unit at two values of x, linear in between; null: that of the source cell",
    )
    lengths_A: Annotated[dict[float, tuple[Positive, Positive, Positive]] | None, ADDED] = Field(
        default=None,
        description="lengths a, b, c of the source cell at two values of x, linear in between, instead of the volume; "
        "the angles are those of the source cell",
    )
    moments_muB: dict[str, float] = Field(
        default={"V": 2.0},
        description="initial magnetic moment by element, ferromagnetic start; zeros of ions that are low-spin at "
        "moments_x keep the spin, {}: no spin at all",
    )
    spin_down: Annotated[tuple[int | str, ...], ADDED] = Field(
        default=(),
        description="framework atoms of the file with the opposite spin (antiferromagnetic order), as CIF labels or as "
        "atom indices (from 0) of a POSCAR",
    )
    moments_x: Content = Field(default=3.0, description="value of x at which moments_muB apply")
    moment_per_ion_muB: float = Field(
        default=1.0, description="change of the total moment for each mobile ion added to the cell"
    )

    @field_validator("mobile_ion", mode="before")
    @classmethod
    def _one_ion(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            names = ", ".join(map(str, value))
            raise ValueError(
                f"is one element, got {names}: the content of one element varies; another mobile element belongs to "
                "the framework of the source, and `redoxmd analyse` gives its diffusion from the trajectories"
            )
        return value

    @field_validator("volume_A3_per_fu", "lengths_A")
    @classmethod
    def _two_points(cls, value: dict[float, Any] | None) -> dict[float, Any] | None:
        if value is not None and len(value) != 2:
            raise ValueError(f"needs exactly two values of x to be linear in x, got {len(value)}")
        return value

    @field_validator("cell_matrix")
    @classmethod
    def _right_handed(cls, value: tuple[Vector, Vector, Vector] | None) -> tuple[Vector, Vector, Vector] | None:
        if value is not None:
            (a, b, c), (d, e, f), (g, h, i) = value
            determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
            if determinant < 1:
                raise ValueError(f"has determinant {determinant}, which must be the number of cells; exchange two rows")
        return value

    @model_validator(mode="before")
    @classmethod
    def _no_moments_without_redox(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("redox_element", "") is None:
            return {"moments_muB": {}, "moments_x": 0.0, **values}
        return values

    @model_validator(mode="after")
    def _one_size(self) -> Structures:
        if self.lengths_A is not None and self.volume_A3_per_fu is not None:
            raise ValueError("lengths_A and volume_A3_per_fu both give the cell; leave one of them out")
        return self

    @model_validator(mode="after")
    def _all_of_the_material(self) -> Structures:
        missing = [key for key in OF_THE_MATERIAL if key not in self.model_fields_set]
        if self.source != "nvp" and missing:
            raise ValueError(
                f"{', '.join(missing)} left out, of which the defaults are those of Na_xV2(PO4)3; give those of "
                f"{self.source}"
            )
        return self
