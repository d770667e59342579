"""Where a model keeps its parts, found by data flow instead of by name."""

from lens_core.anatomy.parts import AddMap, Anatomy, Experts, LayerParts, ValueColumns
from lens_core.anatomy.probe import Probe, run_probe
from lens_core.anatomy.search import find_anatomy

__all__ = [
    "AddMap",
    "Anatomy",
    "Experts",
    "LayerParts",
    "Probe",
    "ValueColumns",
    "find_anatomy",
    "run_probe",
]
