"""Causal experiments: activations patched between the sides of a pair, layers removed or moved."""

from lens_core.patching.columns import Column
from lens_core.patching.gradients import attribution_patching
from lens_core.patching.grids import Grid
from lens_core.patching.layer_result import (
    Change,
    ClassChange,
    LayerOperations,
    LayerOperationsStep,
    Score,
    TokenTable,
)
from lens_core.patching.layer_run import layer_operations, layer_operations_steps
from lens_core.patching.operations import Operation
from lens_core.patching.result import (
    AttributionPatching,
    CausalTrace,
    CausalTraceStep,
    Check,
    Contrast,
)
from lens_core.patching.run import causal_trace, causal_trace_steps

__all__ = [
    "AttributionPatching",
    "CausalTrace",
    "CausalTraceStep",
    "Change",
    "Check",
    "ClassChange",
    "Column",
    "Contrast",
    "Grid",
    "LayerOperations",
    "LayerOperationsStep",
    "Operation",
    "Score",
    "TokenTable",
    "attribution_patching",
    "causal_trace",
    "causal_trace_steps",
    "layer_operations",
    "layer_operations_steps",
]
