"""Logits study: rows, answers, target words, breakdowns and statistics over queries."""

from lens_core.study.answers import Verdict, check_answer, extract_answer, normalise
from lens_core.study.prompts import Prompt, check_no_answer, render_prompt
from lens_core.study.reading import read_rows, rows_from_dataset
from lens_core.study.rows import Row, RowProblem
from lens_core.study.sample_set import sample_rows, write_sample
from lens_core.study.targets import TargetTable

__all__ = [
    "Prompt",
    "Row",
    "RowProblem",
    "TargetTable",
    "Verdict",
    "check_answer",
    "check_no_answer",
    "extract_answer",
    "normalise",
    "read_rows",
    "render_prompt",
    "rows_from_dataset",
    "sample_rows",
    "write_sample",
]
