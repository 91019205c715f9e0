"""Section `figures`."""

from __future__ import annotations

from pydantic import Field

from redoxmd.config.sections.base import Section


class Figures(Section):
    """How figures look; changing this redraws figures and nothing else."""

    width_mm: float = Field(default=90.0, ge=40.0, le=400.0, description="column width")
    font_pt: float = Field(default=8.0, ge=4.0, le=24.0, description="font size")
    dpi: int = Field(default=200, ge=50, le=1200, description="resolution of the PNG")
