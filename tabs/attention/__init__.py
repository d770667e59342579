"""Attention: where a position looks, what comes next, and what the prediction rests on."""

from tabs.attention.tab import build

NAME = "attention"
TITLE = "tab.attention"

__all__ = ["NAME", "TITLE", "build"]
