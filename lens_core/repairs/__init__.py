"""Repair what a model says: find a small edit of its FFN weights, and measure what it changed."""

from lens_core.repairs.basis import RepairBasis, repair_basis
from lens_core.repairs.options import METHODS, RepairOptions
from lens_core.repairs.result import Repair, RepairStep
from lens_core.repairs.run import repair, repair_many, repair_many_steps, repair_steps
from lens_core.repairs.wanted import TargetPreview, preview_target

__all__ = [
    "METHODS",
    "Repair",
    "RepairBasis",
    "RepairOptions",
    "RepairStep",
    "TargetPreview",
    "preview_target",
    "repair",
    "repair_basis",
    "repair_many",
    "repair_many_steps",
    "repair_steps",
]
