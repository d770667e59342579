"""The science of LM Lens: read, take apart and edit any causal language model.

Importing this package loads no torch: every name is looked up when it is first used.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "EditError": "errors",
    "InputError": "errors",
    "LensError": "errors",
    "ModelError": "errors",
    "NotExactError": "errors",
    "PromptError": "errors",
    "SettingsError": "errors",
    "LoadedModel": "models",
    "load_model": "loading",
    "wrap_model": "loading",
    "ModelPool": "pool",
    "capture": "trace",
    "WeightEdit": "edits",
    "applied": "edits",
    "Held": "held",
    "LensRun": "lens",
    "LogitLens": "lens",
    "lens_run": "lens",
    "logit_lens": "lens",
    "ContributionGraph": "tree",
    "GraphDifference": "tree",
    "GraphRun": "tree",
    "GraphStatistics": "tree",
    "contribution_graph": "tree",
    "edge_details": "tree",
    "ffn_details": "tree",
    "graph_difference": "tree",
    "graph_run": "tree",
    "graph_statistics": "tree",
    "graph_statistics_steps": "tree",
    "head_details": "tree",
    "head_maps": "tree",
    "node_details": "tree",
    "Agreement": "tree",
    "Part": "tree",
    "Verification": "tree",
    "graph_agreement": "tree",
    "verify": "tree",
    "Repair": "repairs",
    "RepairBasis": "repairs",
    "RepairOptions": "repairs",
    "RepairStep": "repairs",
    "preview_target": "repairs",
    "repair": "repairs",
    "repair_basis": "repairs",
    "repair_many": "repairs",
    "repair_many_steps": "repairs",
    "repair_steps": "repairs",
    "check_stack": "repairs",
    "compare_repairs": "repairs",
    "compare_repairs_steps": "repairs",
    "evaluate_repair": "repairs",
    "save_lora": "repairs",
    "save_merged": "repairs",
    "strength_curve": "repairs",
    "AttentionMatrix": "attention",
    "AttentionRows": "attention",
    "AttentionViews": "attention",
    "attention_matrix": "attention",
    "attention_rows": "attention",
    "attention_views": "attention",
    "Continuation": "next_token_prediction",
    "NextToken": "next_token_prediction",
    "StringProbability": "next_token_prediction",
    "next_token": "next_token_prediction",
    "next_token_from_logits": "next_token_prediction",
    "string_probability": "next_token_prediction",
    "Endpoint": "remote",
    "RemoteImportance": "remote",
    "RemoteStep": "remote",
    "remote_estimate": "remote",
    "remote_importance": "remote",
    "remote_importance_steps": "remote",
    "Attribution": "attribution",
    "AttributionStep": "attribution",
    "Faithfulness": "attribution",
    "attribute": "attribution",
    "attribute_steps": "attribution",
    "faithfulness": "attribution",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lens_core' has no attribute {name!r}")
    return getattr(import_module(f"lens_core.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
