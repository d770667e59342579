"""The tab of minimal pairs: how activations differ, and which of them carry the answer."""

from tabs.difference.tab import build

NAME = "difference"
TITLE = "tab.difference"

__all__ = ["NAME", "TITLE", "build"]
