"""The logit lens: what the model would predict if it stopped after each layer."""

from lens_core.lens.result import LogitLens
from lens_core.lens.run import logit_lens

__all__ = ["LogitLens", "logit_lens"]
