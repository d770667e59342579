"""The tab of the contribution graph."""

from tabs.graph.tab import build

NAME = "graph"
TITLE = "tab.graph"

__all__ = ["NAME", "TITLE", "build"]
