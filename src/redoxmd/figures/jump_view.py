"""Interactive 3-D view of a jump as a self-contained HTML page with 3Dmol.js (BSD, Rego and Koes 2015) and frames."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr

from redoxmd.diffusion.scene import Scene

ASSETS = files("redoxmd.figures") / "assets"
# Share of all visits inside the drawn surface.
ENCLOSED = 0.9


def draw_page(scene: Scene) -> str:
    """HTML page of a scene."""
    content = {
        "title": scene.title,
        "frames": frames_text(scene),
        "timesFs": np.round(scene.time_fs, 1).tolist(),
        "jumping": scene.jumping,
        "mobile": scene.mobile_ion,
        "box": [scene.origin_A.tolist(), scene.cell_A.tolist()],
        "visits": cube_text(scene),
        "level": enclosing_level(scene.visits_per_A3),
        "enclosed": ENCLOSED,
    }
    template = (ASSETS / "jump_view.html").read_text(encoding="utf-8")
    library = (ASSETS / "3Dmol-min.js").read_text(encoding="utf-8")
    # No text inside a script may contain its closing tag.
    data = json.dumps(content).replace("</", "<\\/")
    return template.replace("/*DATA*/null", data).replace("/*LIBRARY*/", library.replace("</script", "<\\/script"))


def frames_text(scene: Scene) -> str:
    """All frames in XYZ format."""
    symbols = [chemical_symbols[number] for number in scene.numbers]
    lines = []
    for positions in scene.positions_A:
        lines += [str(len(symbols)), ""]
        lines += [f"{symbol} {x:.3f} {y:.3f} {z:.3f}" for symbol, (x, y, z) in zip(symbols, positions, strict=True)]
    return "\n".join(lines) + "\n"


def cube_text(scene: Scene) -> str:
    """Density of visits as a cube file, with lengths in bohr and values in 1/Å³ at the centres of the bins."""
    grid = scene.visits_per_A3
    middle = scene.origin_A + (0.5 / np.array(grid.shape)) @ scene.cell_A
    lines = ["visited positions", "", "0 " + " ".join(f"{value / Bohr:.6f}" for value in middle)]
    for count, vector in zip(grid.shape, scene.cell_A, strict=True):
        lines.append(f"{count} " + " ".join(f"{value / Bohr / count:.6f}" for value in vector))
    lines.append(" ".join(f"{value:.3g}" for value in grid.ravel()))
    return "\n".join(lines) + "\n"


def enclosing_level(density: np.ndarray, share: float = ENCLOSED) -> float:
    """Value above which a share of the total density lies."""
    descending = np.sort(density.ravel())[::-1]
    total = descending.sum()
    if total <= 0:
        return 1.0
    return float(descending[np.searchsorted(np.cumsum(descending), share * total)])
