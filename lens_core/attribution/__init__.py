"""Attribution: what in the prompt a prediction rests on, and how far to trust the answer."""

from lens_core.attribution.faithful import Faithfulness, faithfulness
from lens_core.attribution.result import Attribution, AttributionStep
from lens_core.attribution.run import attribute, attribute_steps

__all__ = [
    "Attribution",
    "AttributionStep",
    "Faithfulness",
    "attribute",
    "attribute_steps",
    "faithfulness",
]
