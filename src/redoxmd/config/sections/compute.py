"""Section `compute`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from redoxmd.config.sections.base import Count, Section


class Compute(Section):
    """How results are computed; these keys do not change the results, so that nothing runs again for them."""

    evaluation: Literal["auto", "plain"] = Field(
        default="auto",
        description="auto: compiled kernels where possible; plain: PyTorch only",
    )
    md: Literal["auto", "host", "device"] = Field(
        default="host",
        description="MD of explore and production; device: pairs, integrator and gate on the processor of "
        "the model, for a GPU; auto: device with a GPU that passes a self-test, otherwise host",
    )
    batch: Count = Field(
        default=1,
        description="with md: device, number of trajectories that a production job runs in parallel",
    )
