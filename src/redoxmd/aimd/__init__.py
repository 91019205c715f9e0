"""Reference MD by an engine, for the stages aimd and label."""

from redoxmd.aimd.drivers import run_reference_md as run_reference_md
from redoxmd.aimd.reference_md import ReferenceMD as ReferenceMD
from redoxmd.aimd.reference_md import Refusal as Refusal
from redoxmd.aimd.reference_md import RunRecord as RunRecord

__all__ = ["ReferenceMD", "Refusal", "RunRecord", "run_reference_md"]
