"""The contribution graph: what every state was made of, as a tree below any of them."""

from lens_core.tree.building import contribution_graph
from lens_core.tree.heads import edge_details, head_details, head_maps
from lens_core.tree.neurons import ffn_details
from lens_core.tree.result import ContributionGraph
from lens_core.tree.run import GraphRun, graph_run
from lens_core.tree.states import node_details

__all__ = [
    "ContributionGraph",
    "GraphRun",
    "contribution_graph",
    "edge_details",
    "ffn_details",
    "graph_run",
    "head_details",
    "head_maps",
    "node_details",
]
