"""Minimal pairs: two texts that differ in one thing, read, made and aligned."""

from lens_core.pairs.aligning import aligned, with_edit
from lens_core.pairs.asking import ask_pairs
from lens_core.pairs.proposing import propose_pairs
from lens_core.pairs.reading import iter_pairs, read_pairs
from lens_core.pairs.record import Alignment, Pair, PairFile, Problem
from lens_core.pairs.templates import Category, known_categories, make_pairs
from lens_core.pairs.writing import jsonl, original_json, write_original, write_pairs

__all__ = [
    "Alignment",
    "Category",
    "Pair",
    "PairFile",
    "Problem",
    "aligned",
    "ask_pairs",
    "iter_pairs",
    "jsonl",
    "known_categories",
    "make_pairs",
    "original_json",
    "propose_pairs",
    "read_pairs",
    "with_edit",
    "write_original",
    "write_pairs",
]
