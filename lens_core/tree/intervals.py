"""What the intervals of several results have in common: all of them hold 95 %."""

NORMAL = 1.959963984540054
"""Quantile of the normal distribution that leaves 2.5 % on either side."""
