"""Where a model looks: rows, matrices and views of its attention."""

from lens_core.attention.matrix import AttentionMatrix, attention_matrix
from lens_core.attention.result import AttentionRows, NextTokens
from lens_core.attention.rows import attention_rows, next_tokens
from lens_core.attention.view_result import AttentionViews
from lens_core.attention.views import attention_views

__all__ = [
    "AttentionMatrix",
    "AttentionRows",
    "AttentionViews",
    "NextTokens",
    "attention_matrix",
    "attention_rows",
    "attention_views",
    "next_tokens",
]
