"""A cell as a picture: shaded atoms sorted by depth, bonds of the framework, the outline of the cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.patches import FancyArrowPatch
from scipy.spatial import ConvexHull

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, say

# The lower and the higher oxidation state.
STATE_COLOURS = (COLOURS[1], COLOURS[0])
REDOX_MAP = LinearSegmentedColormap.from_list("redox", [STATE_COLOURS[0], "#C8C8C8", STATE_COLOURS[1]])
MOBILE = frozenset(atomic_numbers[symbol] for symbol in ("Li", "Na", "K", "Mg", "Ca", "Zn"))
MOBILE_COLOUR = "#F0C040"
PALE = 0.65
VEIL = 0.35
BOND_TOLERANCE = 1.15
RADIUS_A = {"mobile": 0.75, "redox": 0.8, "framework": 0.25}
# Lighter discs within each atom: share of the radius, share of white.
SPOTS = ((0.5, 0.25), (0.25, 0.6))
FADE = 0.6
MARGIN_A = 0.8

# What the spheres of a picture are, for a line of text beside it.
KEY = "yellow: mobile ions, outlined: those that move, small and pale: framework"

Arrow = tuple[np.ndarray, np.ndarray]
# Colour, radius in Å, share of white when farthest away.
Look = tuple[str, float, float]


@dataclass(frozen=True)
class View:
    """From where a cell is seen.

    Attributes:
        axes: (3, 3) rows: to the right, up, towards the viewer; a right-handed rotation.
        centre_A: (3,) point in the middle; atoms are drawn as their images in the cell around it.
    """

    axes: np.ndarray
    centre_A: np.ndarray

    def project(self, points_A: np.ndarray) -> np.ndarray:
        """(n, 3): right, up and depth (larger is nearer) of points (n, 3), from the centre."""
        seen: np.ndarray = (np.asarray(points_A, dtype=float) - self.centre_A) @ self.axes.T
        return seen


def choose_view(cell_A: np.ndarray, arrows: Sequence[Arrow] = ()) -> View:
    """Perpendicular to the arrows as far as can be, else along the thin side of the cell; its long side upright.

    Args:
        cell_A: (3, 3).
        arrows: start and end, Å; the view is centred on them.
    """
    cell = np.asarray(cell_A, dtype=float)
    vectors = np.array([np.subtract(end, start) for start, end in arrows], dtype=float).reshape(-1, 3)
    towards = _normal(vectors, cell)
    flat = np.eye(3) - np.outer(towards, towards)
    up = _fixed_sign(np.linalg.eigh(flat @ cell.T @ cell @ flat).eigenvectors[:, -1])
    axes = np.stack([np.cross(up, towards), up, towards])
    return View(axes, _middle(arrows, cell) if len(arrows) else cell.sum(axis=0) / 2)


def _normal(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Unit vector that minimises Σ (n·d)², then the extent of the cell along it."""
    values, directions = np.linalg.eigh(vectors.T @ vectors)
    free = directions[:, values <= max(1e-6 * values[-1], values[0])]
    choices = np.linalg.eigh(free.T @ cell.T @ cell @ free).eigenvectors
    return _fixed_sign(free @ choices[:, 0])


def _fixed_sign(vector: np.ndarray) -> np.ndarray:
    largest = vector[np.argmax(np.abs(np.round(vector, 6)))]
    unit: np.ndarray = vector / np.linalg.norm(vector) * (1.0 if largest > 0 else -1.0)
    return unit


def _middle(arrows: Sequence[Arrow], cell: np.ndarray) -> np.ndarray:
    """Mean of the arrows' middles, each taken as the image nearest to the first."""
    middles = np.array([np.add(start, end) / 2 for start, end in arrows], dtype=float)
    middle: np.ndarray = nearest_images(middles, cell, middles[0]).mean(axis=0)
    return middle


def nearest_images(points_A: np.ndarray, cell_A: np.ndarray, centre_A: np.ndarray) -> np.ndarray:
    """Points (n, 3) moved by whole cell vectors into the cell around a centre."""
    offset = (np.asarray(points_A, dtype=float) - centre_A) @ np.linalg.inv(cell_A)
    # Rounding keeps an atom on the edge from changing sides by noise.
    moved: np.ndarray = points_A - np.floor(np.round(offset + 0.5, 6)) @ cell_A
    return moved


def draw_structure(
    axis: Axes,
    numbers: np.ndarray,
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    settings: Figures,
    highlight: Sequence[int] = (),
    colour_by_atom: Mapping[int, str] | None = None,
    arrows: Sequence[Arrow] = (),
    view: View | None = None,
    radius_A: float | None = None,
    trails: Mapping[int, np.ndarray] | None = None,
    images_of_A: np.ndarray | None = None,
) -> None:
    """Paint a cell; whatever is neither a mobile ion nor coloured is framework, small and pale.

    Args:
        axis: is emptied of ticks and frame.
        numbers: (n,) atomic numbers.
        positions_A: (n, 3).
        cell_A: (3, 3).
        settings: look.
        highlight: indices of atoms with a dark outline.
        colour_by_atom: colour by index.
        arrows: paths, start and end in Å.
        view: the one that shows the arrows best unless given.
        radius_A: draw only atoms this near to the middle of the view, in all images, without the outline of the cell,
            and pale polyhedra around framework atoms that have four or six neighbours there.
        trails: by index the way (F, 3) of an atom in Å, continuous, drawn in its colour.
        images_of_A: (n, 3) positions whose periodic images in the view are followed from picture to picture, where
            `positions_A` are those of another time, unwrapped; the positions themselves unless given.
    """
    axis.axis("off")
    axis.set_aspect("equal")
    numbers, cell = np.asarray(numbers, dtype=int), np.asarray(cell_A, dtype=float)
    if not len(numbers):
        say(axis, settings, "no atoms to show")
        return
    view = view or choose_view(cell, arrows)
    colours = dict(colour_by_atom or {})
    chosen_A = np.asarray(positions_A if images_of_A is None else images_of_A, dtype=float)
    places = np.asarray(positions_A, dtype=float) + nearest_images(chosen_A, cell, view.centre_A) - chosen_A
    atom, shown = np.arange(len(numbers)), places
    if radius_A is None:
        _outline(axis, cell, view)
    else:
        atom, shown = _around(places, cell, view.centre_A, radius_A)
    seen = view.project(shown)
    bonded = _bonds(axis, numbers[atom], seen)
    if radius_A is not None:
        _polyhedra(axis, numbers[atom], seen, bonded)
    # Of an atom with an outline only the image in the middle has it, and its colour.
    outlined = np.isin(atom, np.asarray(highlight, dtype=int))
    front = outlined & (shown == places[atom]).all(axis=1)
    plain = outlined & ~front
    looks = [
        _look(int(numbers[index]), None if other else colours.get(int(index)))
        for index, other in zip(atom, plain, strict=True)
    ]
    _atoms(axis, seen[~front], [look for look, lifted in zip(looks, front, strict=True) if not lifted], seen)
    _arrows(axis, arrows, cell, view)
    for index, way in (trails or {}).items():
        _trail(axis, np.asarray(way, dtype=float), cell, view, colours.get(index, "black"))
    _atoms(axis, seen[front], [look for look, lifted in zip(looks, front, strict=True) if lifted], None)
    _limits(axis, cell, view, radius_A)


def _around(
    places_A: np.ndarray, cell: np.ndarray, centre_A: np.ndarray, radius_A: float
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (m,) by index and places (m, 3) of all images within a distance of the centre."""
    shifts = [np.zeros(3), *(np.array(shift) for shift in product((-1.0, 0.0, 1.0), repeat=3) if any(shift))]
    images = np.concatenate([places_A + shift @ cell for shift in shifts])
    near = np.linalg.norm(images - centre_A, axis=1) <= radius_A
    return np.tile(np.arange(len(places_A)), len(shifts))[near], images[near]


def _look(number: int, colour: str | None) -> Look:
    """Of one atom; a colour that stands for a number never fades."""
    if colour is not None:
        return colour, RADIUS_A["redox"], 0.0
    if number in MOBILE:
        return MOBILE_COLOUR, RADIUS_A["mobile"], FADE
    return _mix(to_hex(jmol_colors[number]), PALE), RADIUS_A["framework"], FADE


def _mix(colour: str, white: float) -> str:
    return to_hex((1 - white) * np.array(to_rgb(colour)) + white)


def _atoms(axis: Axes, seen: np.ndarray, looks: list[Look], among: np.ndarray | None) -> None:
    """Discs with a light spot, the nearest on top; far ones fade, unless they are in front of all (among: None)."""
    discs: list[tuple[float, float, float, str, str]] = []
    outline = "black" if among is None else ""
    for index in np.argsort(seen[:, 2], kind="stable"):
        (colour, radius, fade), (x, y, depth) = looks[index], seen[index]
        faded = colour if among is None else _mix(colour, fade * _remoteness(depth, among[:, 2]))
        discs.append((x, y, radius, faded, outline or _shade(faded)))
        if radius > RADIUS_A["framework"]:
            spot = (x - 0.3 * radius, y + 0.3 * radius)
            discs += [(*spot, size * radius, _mix(faded, white), "none") for size, white in SPOTS]
    _paint(axis, discs, *((30, 1.2) if among is None else (10, 0.4)))


def _remoteness(depth: float, depths: np.ndarray) -> float:
    """0 for the nearest, 1 for the farthest."""
    near, far = float(depths.max()), float(depths.min())
    return (near - float(depth)) / (near - far) if near > far else 0.0


def _paint(axis: Axes, discs: list[tuple[float, float, float, str, str]], zorder: float, width: float) -> None:
    if not discs:
        return
    x, y, radius, face, edge = zip(*discs, strict=True)
    size = 2 * np.array(radius)
    offsets = np.column_stack([x, y])
    axis.add_collection(
        EllipseCollection(
            size, size, np.zeros(len(size)), units="xy", offsets=offsets, offset_transform=axis.transData,
            facecolors=list(face), edgecolors=list(edge), linewidths=width, zorder=zorder,
        )
    )  # fmt: skip


def _shade(colour: str) -> str:
    return to_hex(0.7 * np.array(to_rgb(colour)))


def _bonds(axis: Axes, numbers: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Thin lines between framework atoms closer than 1.15 × the sum of their covalent radii; their indices (b, 2)."""
    framework = np.flatnonzero(~np.isin(numbers, list(MOBILE)))
    places, radii = seen[framework], covalent_radii[numbers[framework]]
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    bonded = np.argwhere(np.triu(distance < BOND_TOLERANCE * (radii[:, None] + radii[None]), k=1))
    axis.add_collection(LineCollection(list(places[bonded][..., :2]), colors="#D8D8D8", linewidths=0.6, zorder=5))
    pairs: np.ndarray = framework[bonded]
    return pairs


def _polyhedra(axis: Axes, numbers: np.ndarray, seen: np.ndarray, bonded: np.ndarray) -> None:
    """Shadows of tetrahedra and octahedra, the far ones first, as what their corners enclose in the picture."""
    neighbours: dict[int, list[int]] = defaultdict(list)
    for one, other in np.concatenate([bonded, bonded[:, ::-1]]).tolist():
        neighbours[one].append(other)
    complete = [atom for atom, corners in neighbours.items() if len(corners) in (4, 6)]
    shapes, colours = [], []
    for atom in sorted(complete, key=lambda index: seen[index, 2]):
        corners = seen[neighbours[atom], :2]
        shapes.append(corners[ConvexHull(corners).vertices])
        colours.append(_mix(to_hex(jmol_colors[numbers[atom]]), PALE))
    axis.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors="none", alpha=VEIL, zorder=3))


def _outline(axis: Axes, cell: np.ndarray, view: View) -> None:
    """The twelve edges of the cell around the centre."""
    for along, (a, b) in product(range(3), product((-0.5, 0.5), repeat=2)):
        start = np.insert([a, b], along, -0.5)
        ends = view.project(view.centre_A + np.stack([start, start + np.eye(3)[along]]) @ cell)
        axis.plot(ends[:, 0], ends[:, 1], color="#888888", linewidth=0.5, zorder=0)


def _arrows(axis: Axes, arrows: Sequence[Arrow], cell: np.ndarray, view: View) -> None:
    for start, end in arrows:
        middle = np.add(start, end) / 2
        shift = nearest_images(middle[None], cell, view.centre_A)[0] - middle
        tail, head = view.project(np.stack([start + shift, end + shift]))[:, :2]
        axis.add_patch(
            FancyArrowPatch(
                tuple(tail), tuple(head), arrowstyle="-|>", mutation_scale=8, color="black", linewidth=1.2,
                shrinkA=0, shrinkB=0, zorder=20,
            )
        )  # fmt: skip


def _trail(axis: Axes, way_A: np.ndarray, cell: np.ndarray, view: View, colour: str) -> None:
    middle = way_A[len(way_A) // 2]
    seen = view.project(way_A + nearest_images(middle[None], cell, view.centre_A)[0] - middle)
    axis.plot(seen[:, 0], seen[:, 1], color=colour, linewidth=0.8, alpha=0.8, zorder=25)


def _limits(axis: Axes, cell: np.ndarray, view: View, radius_A: float | None) -> None:
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) @ cell @ view.axes.T
    low, high = corners.min(axis=0) - MARGIN_A, corners.max(axis=0) + MARGIN_A
    if radius_A is not None:
        low, high = np.full(2, -radius_A - MARGIN_A), np.full(2, radius_A + MARGIN_A)
    axis.set_xlim(low[0], high[0])
    axis.set_ylim(low[1], high[1])
