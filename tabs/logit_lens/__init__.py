"""The logit lens: what the model would say at each layer, at every position."""

from tabs.logit_lens.tab import build

NAME = "logit_lens"
TITLE = "tab.logit_lens"

__all__ = ["NAME", "TITLE", "build"]
