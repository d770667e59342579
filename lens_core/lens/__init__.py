"""The logit lens: what the model would predict if it stopped after each layer."""

from lens_core.lens.reading import logit_lens
from lens_core.lens.result import LogitLens
from lens_core.lens.run import LensRun, lens_run

__all__ = ["LensRun", "LogitLens", "lens_run", "logit_lens"]
