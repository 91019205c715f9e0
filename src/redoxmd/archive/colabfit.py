"""Export for the ColabFit Exchange: frames as extended XYZ, and a dataset card with the answers to its form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ase import Atoms

from redoxmd.files.frames import frame_text
from redoxmd.files.records import atomic_path, write_text

UNKNOWN = "to be added"
SOFTWARE = {"vasp": "VASP", "gpaw": "GPAW"}
# Array or result of a frame → property by ColabFit's name, and its details.
PROPERTIES = {
    "energy": (
        "Potential energy",
        "key energy, eV, per-atom=false, extrapolated to zero smearing (forces are the gradient of the free energy)",
    ),
    "forces": ("Atomic forces", "key forces, eV/Å"),
    "stress": ("Cauchy stress", "key stress, eV/Å³, volume-normalized=false, positive under tension"),
    "magmoms": ("Other: moments", "key magmoms, local moment of each atom, μB"),
    "oxidation": (
        "Other: oxidation states",
        "key oxidation, integer of each atom",
    ),
}


@dataclass
class _Content:
    """Counts over the frames of a dataset."""

    elements: set[str] = field(default_factory=set)
    formulas: set[str] = field(default_factory=set)
    engines: set[str] = field(default_factory=set)
    configurations: set[str] = field(default_factory=set)
    properties: Counter[str] = field(default_factory=Counter)
    frames: int = 0

    def add(self, frame: Atoms) -> None:
        self.frames += 1
        self.elements |= set(frame.get_chemical_symbols())
        self.formulas.add(frame.get_chemical_formula(mode="metal"))
        self.engines |= {str(frame.info["engine"])} if "engine" in frame.info else set()
        self.configurations |= {str(frame.info["config_id"])} if "config_id" in frame.info else set()
        self.properties.update(name for name in PROPERTIES if name in frame.calc.results or name in frame.arrays)


def export_colabfit(frames: Iterable[Atoms], card: dict[str, Any], to: Path, source: str) -> list[Path]:
    """Write `frames.extxyz` and the card `README.md` into a folder.

    The card begins with metadata in YAML, as those of Hugging Face do, and lists the fields of ColabFit's form for
    submissions (github.com/colabfit/data-lake). Values that redoxmd does not know read "to be added".

    Args:
        frames: labelled.
        card: content of `dataset.yaml`; {} if the frames are a single file.
        to: the folder.
        source: of the frames, for messages.
    """
    content = _Content()
    with atomic_path(to / "frames.extxyz") as temporary, temporary.open("w", encoding="utf-8") as stream:
        for frame in frames:
            content.add(frame)
            stream.write(frame_text(frame, source))
    write_text(to / "README.md", _card_text(content, card, to.name))
    return [to / "README.md", to / "frames.extxyz"]


def _card_text(content: _Content, card: dict[str, Any], name: str) -> str:
    level = dict(card.get("level", {}))
    functional = level.get("functional") or UNKNOWN
    method = f"DFT-{functional}{'+U' if level.get('hubbard') else ''}" if functional != UNKNOWN else UNKNOWN
    engines = sorted(content.engines or {str(card.get("engine", UNKNOWN))})
    title = card.get("title", name)
    licence = card.get("licence", UNKNOWN)
    counts = {key: content.properties[key] for key in PROPERTIES if content.properties[key]}
    header = {"pretty_name": title, "license": licence, "tags": ["molecular dynamics", "mlip", "interatomic potential"]}
    rows = {
        "Dataset name": name.replace(" ", "_"),
        "Authors": UNKNOWN,
        "Publication link": UNKNOWN,
        "Data link": UNKNOWN,
        "Dataset description": f"{title}. Cells: {', '.join(sorted(content.formulas))}. Source: "
        f"{card.get('source', UNKNOWN)}",
        "File details": "frames.extxyz, extended XYZ as ASE writes it",
        "Method": method,
        "Software": ", ".join(SOFTWARE.get(engine, engine) for engine in engines),
        "Software version(s)": UNKNOWN,
        "Additional details": f"settings hash {card.get('settings_hash', UNKNOWN)}; the level of theory is given below",
        "Property types": ", ".join(PROPERTIES[key][0] for key in counts),
        "Energy field conjugate with forces": "energy",
        "Property details": "; ".join(f"{PROPERTIES[key][1]} ({count} frames)" for key, count in counts.items()),
        "Elements": ", ".join(sorted(content.elements)),
        "Number of Configurations": content.frames,
        "Naming convention": "keys config_id (MD run or label) and step",
        "Configuration sets": f"by config_id: {len(content.configurations)} sets",
        "Distribution license": licence,
    }
    table = "\n".join(f"| {key} | {str(value).replace('|', '/')} |" for key, value in rows.items())
    details = yaml.safe_dump(level, sort_keys=False, allow_unicode=True) if level else f"{UNKNOWN}\n"
    front = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    body = f"# {title}\n\n| field | value |\n|---|---|\n{table}\n\n## Level of theory\n```\n{details}```\n"
    return f"---\n{front}---\n{body}"
