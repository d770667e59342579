"""Repair what a model says: find a small edit of its FFN weights, and measure what it changed."""

from lens_core.repairs.basis import RepairBasis, repair_basis
from lens_core.repairs.compare import Comparison, compare_repairs, compare_repairs_steps
from lens_core.repairs.evaluate import Evaluation, evaluate_repair
from lens_core.repairs.exports import SavedAdapter, save_lora, save_merged
from lens_core.repairs.options import METHODS, RepairOptions
from lens_core.repairs.result import Repair, RepairStep
from lens_core.repairs.run import repair, repair_many, repair_many_steps, repair_steps
from lens_core.repairs.stack import StackCheck, check_stack, strength_curve
from lens_core.repairs.wanted import TargetPreview, preview_target

__all__ = [
    "METHODS",
    "Comparison",
    "Evaluation",
    "Repair",
    "RepairBasis",
    "RepairOptions",
    "RepairStep",
    "SavedAdapter",
    "StackCheck",
    "TargetPreview",
    "check_stack",
    "compare_repairs",
    "compare_repairs_steps",
    "evaluate_repair",
    "preview_target",
    "repair",
    "repair_basis",
    "repair_many",
    "repair_many_steps",
    "repair_steps",
    "save_lora",
    "save_merged",
    "strength_curve",
]
