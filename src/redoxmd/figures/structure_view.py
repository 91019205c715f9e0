"""Draw a cell: shaded atoms sorted by depth, bonds of the framework, the outline of the cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.patches import FancyArrowPatch
from scipy.spatial import ConvexHull

from redoxmd.figures.style import COLOURS

# Lower and higher oxidation state.
STATE_COLOURS = (COLOURS[1], COLOURS[0])
REDOX_MAP = LinearSegmentedColormap.from_list("redox", [STATE_COLOURS[0], "#C8C8C8", STATE_COLOURS[1]])
MOBILE = frozenset(atomic_numbers[symbol] for symbol in ("Li", "Na", "K", "Mg", "Ca", "Zn"))
MOBILE_COLOUR = "#F0C040"
PALE = 0.65
POLYHEDRON_ALPHA = 0.35
BOND_TOLERANCE = 1.15
RADIUS_A = {"mobile": 0.75, "redox": 0.8, "framework": 0.25}
# Lighter discs within each atom: share of the radius, share of white.
HIGHLIGHTS = ((0.5, 0.25), (0.25, 0.6))
FADE = 0.6
MARGIN_A = 0.8

# Legend of the spheres, written below the structures.
KEY = "yellow: mobile ions, outlined: those that move, small and pale: framework"

Arrow = tuple[np.ndarray, np.ndarray]
# Colour, radius in Å, share of white at the largest depth.
AtomStyle = tuple[str, float, float]


@dataclass(frozen=True)
class View:
    """Direction and centre of a view of a cell.

    Attributes:
        axes: (3, 3) rows: right, up, towards the viewer; a right-handed rotation.
        centre_A: (3,) centre of the view; atoms are drawn as their images in the cell around it.
    """

    axes: np.ndarray
    centre_A: np.ndarray

    def project(self, points_A: np.ndarray) -> np.ndarray:
        """Components (n, 3) of points relative to the centre: right, up and depth (larger is nearer)."""
        projected: np.ndarray = (np.asarray(points_A, dtype=float) - self.centre_A) @ self.axes.T
        return projected


def choose_view(cell_A: np.ndarray, arrows: Sequence[Arrow] = ()) -> View:
    """View perpendicular to the arrows as far as possible, then along the short side of the cell, long side upright.

    Args:
        cell_A: (3, 3).
        arrows: start and end, Å; the view is centred on the mean of their midpoints, each as the image nearest to the
            first.
    """
    vectors = np.array([np.subtract(end, start) for start, end in arrows], dtype=float).reshape(-1, 3)
    # Unit vector n that minimises Σ (n·d)² over the vectors d, then the extent of the cell along n.
    values, directions = np.linalg.eigh(vectors.T @ vectors)
    free = directions[:, values <= max(1e-6 * values[-1], values[0])]
    towards = _fixed_sign(free @ np.linalg.eigh(free.T @ cell_A.T @ cell_A @ free).eigenvectors[:, 0])
    flat = np.eye(3) - np.outer(towards, towards)
    up = _fixed_sign(np.linalg.eigh(flat @ cell_A.T @ cell_A @ flat).eigenvectors[:, -1])
    centre = cell_A.sum(axis=0) / 2
    if len(arrows):
        middles = np.array([np.add(start, end) / 2 for start, end in arrows], dtype=float)
        centre = nearest_images(middles, cell_A, middles[0]).mean(axis=0)
    return View(np.stack([np.cross(up, towards), up, towards]), centre)


def _fixed_sign(vector: np.ndarray) -> np.ndarray:
    largest = vector[np.argmax(np.abs(np.round(vector, 6)))]
    unit: np.ndarray = vector / np.linalg.norm(vector) * (1.0 if largest > 0 else -1.0)
    return unit


def nearest_images(points_A: np.ndarray, cell_A: np.ndarray, centre_A: np.ndarray) -> np.ndarray:
    """Points (n, 3) shifted by integer cell vectors into the cell around a centre."""
    offset = (np.asarray(points_A, dtype=float) - centre_A) @ np.linalg.inv(cell_A)
    # Rounding prevents that noise moves an atom on the edge to the opposite side.
    moved: np.ndarray = points_A - np.floor(np.round(offset + 0.5, 6)) @ cell_A
    return moved


def draw_structure(
    axis: Axes,
    numbers: np.ndarray,
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    view: View,
    highlight: Sequence[int] = (),
    colour_by_atom: Mapping[int, str] = MappingProxyType({}),
    arrows: Sequence[Arrow] = (),
    radius_A: float | None = None,
    trails: Mapping[int, np.ndarray] = MappingProxyType({}),
    image_reference_A: np.ndarray | None = None,
) -> None:
    """Draw a cell; atoms that are neither mobile nor coloured form the framework and are small and pale.

    Args:
        axis: axes, drawn without ticks and frame.
        numbers: (n,) atomic numbers.
        positions_A: (n, 3).
        cell_A: (3, 3).
        view: view of the structure (`choose_view`).
        highlight: indices of atoms with a dark outline.
        colour_by_atom: colour by index.
        arrows: paths, start and end in Å.
        radius_A: draw only atoms and images within this distance of the centre, without the outline of the cell and
            with pale polyhedra around framework atoms that have four or six neighbours.
        trails: continuous path (F, 3) in Å of atoms by index, drawn in the colour of the atom.
        image_reference_A: (n, 3) unwrapped positions of a reference frame that determine the periodic image of each
            atom, so that several frames show the same images; by default `positions_A`.
    """
    axis.axis("off")
    axis.set_aspect("equal")
    reference_A = positions_A if image_reference_A is None else image_reference_A
    central_A = positions_A + nearest_images(reference_A, cell_A, view.centre_A) - reference_A
    atom, drawn_A = np.arange(len(numbers)), central_A
    if radius_A is None:
        _outline(axis, cell_A, view)
    else:
        atom, drawn_A = _images_within(central_A, cell_A, view.centre_A, radius_A)
    projected = view.project(drawn_A)
    bonded = _bonds(axis, numbers[atom], projected)
    if radius_A is not None:
        _polyhedra(axis, numbers[atom], projected, bonded)
    # Only the central image of a highlighted atom has an outline and its colour.
    highlighted = np.isin(atom, np.asarray(highlight, dtype=int))
    front = highlighted & (drawn_A == central_A[atom]).all(axis=1)
    styles = [
        _atom_style(int(numbers[index]), None if is_image else colour_by_atom.get(int(index)))
        for index, is_image in zip(atom, highlighted & ~front, strict=True)
    ]
    back_styles, front_styles = ([styles[i] for i in np.flatnonzero(mask)] for mask in (~front, front))
    _atoms(axis, projected[~front], back_styles, projected)
    for start, end in arrows:
        middle = np.add(start, end) / 2
        shift = nearest_images(middle[None], cell_A, view.centre_A)[0] - middle
        tail, head = view.project(np.stack([start + shift, end + shift]))[:, :2]
        style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "color": "black", "linewidth": 1.2}
        axis.add_patch(FancyArrowPatch(tuple(tail), tuple(head), shrinkA=0, shrinkB=0, zorder=35, **style))
    for index, path_A in trails.items():
        middle = path_A[len(path_A) // 2]
        along = view.project(path_A + nearest_images(middle[None], cell_A, view.centre_A)[0] - middle)
        axis.plot(along[:, 0], along[:, 1], color=colour_by_atom[index], linewidth=0.8, alpha=0.8, zorder=25)
    _atoms(axis, projected[front], front_styles, None)
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) @ cell_A @ view.axes.T
    low, high = corners.min(axis=0) - MARGIN_A, corners.max(axis=0) + MARGIN_A
    if radius_A is not None:
        low, high = np.full(2, -radius_A - MARGIN_A), np.full(2, radius_A + MARGIN_A)
    axis.set_xlim(low[0], high[0])
    axis.set_ylim(low[1], high[1])


def _images_within(
    positions_A: np.ndarray, cell: np.ndarray, centre_A: np.ndarray, radius_A: float
) -> tuple[np.ndarray, np.ndarray]:
    """Atom indices (m,) and positions (m, 3) of all images within a distance of the centre."""
    shifts = [np.zeros(3), *(np.array(shift) for shift in product((-1.0, 0.0, 1.0), repeat=3) if any(shift))]
    images = np.concatenate([positions_A + shift @ cell for shift in shifts])
    near = np.linalg.norm(images - centre_A, axis=1) <= radius_A
    return np.tile(np.arange(len(positions_A)), len(shifts))[near], images[near]


def _atom_style(number: int, colour: str | None) -> AtomStyle:
    """Style of one atom; an assigned colour does not fade with depth."""
    if colour is not None:
        return colour, RADIUS_A["redox"], 0.0
    if number in MOBILE:
        return MOBILE_COLOUR, RADIUS_A["mobile"], FADE
    return _mix(to_hex(jmol_colors[number]), PALE), RADIUS_A["framework"], FADE


def _mix(colour: str, white: float) -> str:
    return to_hex((1 - white) * np.array(to_rgb(colour)) + white)


def _atoms(axis: Axes, projected: np.ndarray, styles: list[AtomStyle], scene: np.ndarray | None) -> None:
    """Draw atoms as discs with a highlight, the nearest on top.

    Distant atoms fade relative to the depths of `scene`; without a scene, atoms are in the foreground.
    """
    if not len(projected):
        return
    near, far = (0.0, 0.0) if scene is None else (float(scene[:, 2].max()), float(scene[:, 2].min()))
    discs: list[tuple[float, float, float, str, str]] = []
    for index in np.argsort(projected[:, 2], kind="stable"):
        (colour, radius, fade), (x, y, depth) = styles[index], projected[index]
        relative_depth = (near - float(depth)) / (near - far) if near > far else 0.0
        faded = colour if scene is None else _mix(colour, fade * relative_depth)
        discs.append((x, y, radius, faded, "black" if scene is None else to_hex(0.7 * np.array(to_rgb(faded)))))
        if radius > RADIUS_A["framework"]:
            centre = (x - 0.3 * radius, y + 0.3 * radius)
            discs += [(*centre, size * radius, _mix(faded, white), "none") for size, white in HIGHLIGHTS]
    *centres, radii, faces, edges = zip(*discs, strict=True)
    size, offsets = 2 * np.array(radii), np.column_stack(centres)
    zorder, width = (30, 1.2) if scene is None else (10, 0.4)
    axis.add_collection(
        EllipseCollection(
            size, size, np.zeros(len(size)), units="xy", offsets=offsets, offset_transform=axis.transData,
            facecolors=list(faces), edgecolors=list(edges), linewidths=width, zorder=zorder,
        )
    )  # fmt: skip


def _bonds(axis: Axes, numbers: np.ndarray, projected: np.ndarray) -> np.ndarray:
    """Draw bonds between framework atoms closer than 1.15 × the sum of covalent radii; returns index pairs (b, 2)."""
    framework = np.flatnonzero(~np.isin(numbers, list(MOBILE)))
    points, radii = projected[framework], covalent_radii[numbers[framework]]
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    bonded = np.argwhere(np.triu(distance < BOND_TOLERANCE * (radii[:, None] + radii[None]), k=1))
    axis.add_collection(LineCollection(list(points[bonded][..., :2]), colors="#D8D8D8", linewidths=0.6, zorder=5))
    pairs: np.ndarray = framework[bonded]
    return pairs


def _polyhedra(axis: Axes, numbers: np.ndarray, projected: np.ndarray, bonded: np.ndarray) -> None:
    """Draw tetrahedra and octahedra as the convex hulls of their projected corners, the farthest first."""
    neighbours: dict[int, list[int]] = defaultdict(list)
    for atom, neighbour in np.concatenate([bonded, bonded[:, ::-1]]).tolist():
        neighbours[atom].append(neighbour)
    complete = [atom for atom, corners in neighbours.items() if len(corners) in (4, 6)]
    shapes, colours = [], []
    for atom in sorted(complete, key=lambda index: projected[index, 2]):
        corners = projected[neighbours[atom], :2]
        shapes.append(corners[ConvexHull(corners).vertices])
        colours.append(_mix(to_hex(jmol_colors[numbers[atom]]), PALE))
    axis.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors="none", alpha=POLYHEDRON_ALPHA, zorder=3))


def _outline(axis: Axes, cell: np.ndarray, view: View) -> None:
    """Draw the twelve edges of the cell around the centre."""
    for along, (a, b) in product(range(3), product((-0.5, 0.5), repeat=2)):
        start = np.insert([a, b], along, -0.5)
        ends = view.project(view.centre_A + np.stack([start, start + np.eye(3)[along]]) @ cell)
        axis.plot(ends[:, 0], ends[:, 1], color="#888888", linewidth=0.5, zorder=0)
