"""The contribution graph: what every state was made of, as a tree below any of them."""

from lens_core.tree.agreement import Agreement, graph_agreement
from lens_core.tree.building import contribution_graph
from lens_core.tree.comparing import graph_difference
from lens_core.tree.difference import GraphDifference
from lens_core.tree.frequencies import GraphStatistics
from lens_core.tree.heads import edge_details, head_details, head_maps
from lens_core.tree.knock_out import Verification, verify
from lens_core.tree.neurons import ffn_details
from lens_core.tree.parts import Part
from lens_core.tree.result import ContributionGraph
from lens_core.tree.run import GraphRun, graph_run
from lens_core.tree.states import node_details
from lens_core.tree.statistics import graph_statistics, graph_statistics_steps
from lens_core.tree.strongest import strongest_share

__all__ = [
    "Agreement",
    "ContributionGraph",
    "GraphDifference",
    "GraphRun",
    "GraphStatistics",
    "Part",
    "Verification",
    "contribution_graph",
    "edge_details",
    "ffn_details",
    "graph_agreement",
    "graph_difference",
    "graph_run",
    "graph_statistics",
    "graph_statistics_steps",
    "head_details",
    "head_maps",
    "node_details",
    "strongest_share",
    "verify",
]
