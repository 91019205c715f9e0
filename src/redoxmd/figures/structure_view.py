"""Draw a cell: shaded atoms sorted by depth, bonds of the framework, the outline of the cell."""

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
from redoxmd.figures.style import COLOURS, write_message

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
        arrows: start and end, Å; the view is centred on the arrows.
    """
    cell = np.asarray(cell_A, dtype=float)
    vectors = np.array([np.subtract(end, start) for start, end in arrows], dtype=float).reshape(-1, 3)
    towards = _normal(vectors, cell)
    flat = np.eye(3) - np.outer(towards, towards)
    up = _fixed_sign(np.linalg.eigh(flat @ cell.T @ cell @ flat).eigenvectors[:, -1])
    axes = np.stack([np.cross(up, towards), up, towards])
    return View(axes, _middle(arrows, cell) if len(arrows) else cell.sum(axis=0) / 2)


def _normal(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Unit vector n that minimises Σ (n·d)² over the vectors d, then the extent of the cell along n."""
    values, directions = np.linalg.eigh(vectors.T @ vectors)
    free = directions[:, values <= max(1e-6 * values[-1], values[0])]
    choices = np.linalg.eigh(free.T @ cell.T @ cell @ free).eigenvectors
    return _fixed_sign(free @ choices[:, 0])


def _fixed_sign(vector: np.ndarray) -> np.ndarray:
    largest = vector[np.argmax(np.abs(np.round(vector, 6)))]
    unit: np.ndarray = vector / np.linalg.norm(vector) * (1.0 if largest > 0 else -1.0)
    return unit


def _middle(arrows: Sequence[Arrow], cell: np.ndarray) -> np.ndarray:
    """Mean of the midpoints of the arrows, each as the image nearest to the first midpoint."""
    middles = np.array([np.add(start, end) / 2 for start, end in arrows], dtype=float)
    middle: np.ndarray = nearest_images(middles, cell, middles[0]).mean(axis=0)
    return middle


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
    settings: Figures,
    highlight: Sequence[int] = (),
    colour_by_atom: Mapping[int, str] | None = None,
    arrows: Sequence[Arrow] = (),
    view: View | None = None,
    radius_A: float | None = None,
    trails: Mapping[int, np.ndarray] | None = None,
    image_reference_A: np.ndarray | None = None,
) -> None:
    """Draw a cell; atoms that are neither mobile nor coloured form the framework and are small and pale.

    Args:
        axis: axes, drawn without ticks and frame.
        numbers: (n,) atomic numbers.
        positions_A: (n, 3).
        cell_A: (3, 3).
        settings: section `figures` of the config.
        highlight: indices of atoms with a dark outline.
        colour_by_atom: colour by index.
        arrows: paths, start and end in Å.
        view: view of the structure; by default that of `choose_view`.
        radius_A: draw only atoms and images within this distance of the centre, without the outline of the cell and
            with pale polyhedra around framework atoms that have four or six neighbours.
        trails: continuous path (F, 3) in Å of atoms by index, drawn in the colour of the atom.
        image_reference_A: (n, 3) unwrapped positions of a reference frame that determine the periodic image of each
            atom, so that several frames show the same images; by default `positions_A`.
    """
    axis.axis("off")
    axis.set_aspect("equal")
    numbers, cell = np.asarray(numbers, dtype=int), np.asarray(cell_A, dtype=float)
    if not len(numbers):
        write_message(axis, settings, "no atoms to show")
        return
    view = view or choose_view(cell, arrows)
    colours = dict(colour_by_atom or {})
    reference_A = np.asarray(positions_A if image_reference_A is None else image_reference_A, dtype=float)
    central_A = np.asarray(positions_A, dtype=float) + nearest_images(reference_A, cell, view.centre_A) - reference_A
    atom, drawn_A = np.arange(len(numbers)), central_A
    if radius_A is None:
        _outline(axis, cell, view)
    else:
        atom, drawn_A = _images_within(central_A, cell, view.centre_A, radius_A)
    projected = view.project(drawn_A)
    bonded = _bonds(axis, numbers[atom], projected)
    if radius_A is not None:
        _polyhedra(axis, numbers[atom], projected, bonded)
    # Only the central image of a highlighted atom has an outline and its colour.
    highlighted = np.isin(atom, np.asarray(highlight, dtype=int))
    front = highlighted & (drawn_A == central_A[atom]).all(axis=1)
    styles = [
        _atom_style(int(numbers[index]), None if is_image else colours.get(int(index)))
        for index, is_image in zip(atom, highlighted & ~front, strict=True)
    ]
    back_styles, front_styles = ([styles[i] for i in np.flatnonzero(mask)] for mask in (~front, front))
    _atoms(axis, projected[~front], back_styles, projected)
    _arrows(axis, arrows, cell, view)
    for index, path in (trails or {}).items():
        _trail(axis, np.asarray(path, dtype=float), cell, view, colours.get(index, "black"))
    _atoms(axis, projected[front], front_styles, None)
    _limits(axis, cell, view, radius_A)


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
    discs: list[tuple[float, float, float, str, str]] = []
    outline = "black" if scene is None else ""
    for index in np.argsort(projected[:, 2], kind="stable"):
        (colour, radius, fade), (x, y, depth) = styles[index], projected[index]
        faded = colour if scene is None else _mix(colour, fade * _relative_depth(depth, scene[:, 2]))
        discs.append((x, y, radius, faded, outline or _darken(faded)))
        if radius > RADIUS_A["framework"]:
            centre = (x - 0.3 * radius, y + 0.3 * radius)
            discs += [(*centre, size * radius, _mix(faded, white), "none") for size, white in HIGHLIGHTS]
    _draw_discs(axis, discs, *((30, 1.2) if scene is None else (10, 0.4)))


def _relative_depth(depth: float, depths: np.ndarray) -> float:
    """Relative depth: 0 for the nearest atom, 1 for the farthest."""
    near, far = float(depths.max()), float(depths.min())
    return (near - float(depth)) / (near - far) if near > far else 0.0


def _draw_discs(axis: Axes, discs: list[tuple[float, float, float, str, str]], zorder: float, width: float) -> None:
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


def _darken(colour: str) -> str:
    return to_hex(0.7 * np.array(to_rgb(colour)))


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


def _trail(axis: Axes, path_A: np.ndarray, cell: np.ndarray, view: View, colour: str) -> None:
    middle = path_A[len(path_A) // 2]
    projected = view.project(path_A + nearest_images(middle[None], cell, view.centre_A)[0] - middle)
    axis.plot(projected[:, 0], projected[:, 1], color=colour, linewidth=0.8, alpha=0.8, zorder=25)


def _limits(axis: Axes, cell: np.ndarray, view: View, radius_A: float | None) -> None:
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) @ cell @ view.axes.T
    low, high = corners.min(axis=0) - MARGIN_A, corners.max(axis=0) + MARGIN_A
    if radius_A is not None:
        low, high = np.full(2, -radius_A - MARGIN_A), np.full(2, radius_A + MARGIN_A)
    axis.set_xlim(low[0], high[0])
    axis.set_ylim(low[1], high[1])
