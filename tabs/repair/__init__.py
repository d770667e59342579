"""The repair tab: make the model say something else, and see what else changes."""

from tabs.repair.tab import build

NAME = "repair"
TITLE = "repair.tab"

__all__ = ["NAME", "TITLE", "build"]
