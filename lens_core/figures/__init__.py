"""Results as figures: Plotly objects, self-contained HTML, and PNG by Matplotlib.

The only part of the core that imports Plotly or Matplotlib, and only when a figure is made.
Functions take a result or its JSON form. Every text in a figure is escaped: Plotly would read
tokens as markup.
"""

from lens_core.figures.attention import depth as attention_depth
from lens_core.figures.attention import heads as attention_heads
from lens_core.figures.attention_lines import course as attention_course
from lens_core.figures.attention_tokens import tokens as attention_tokens
from lens_core.figures.attribution import bars as attribution_bars
from lens_core.figures.causal import grid as causal_grid
from lens_core.figures.faithfulness import strip as faithfulness_strip
from lens_core.figures.layer_change import change as layer_change
from lens_core.figures.lens_bars import attribution as lens_attribution
from lens_core.figures.lens_grids import heatmap as lens_heatmap
from lens_core.figures.lens_grids import ranks as lens_ranks
from lens_core.figures.lens_lines import Line
from lens_core.figures.lens_lines import trajectories as lens_trajectories
from lens_core.figures.original_comparison import write_comparison
from lens_core.figures.original_layers import write_layer_figures
from lens_core.figures.original_pairs import write_pair_figures
from lens_core.figures.output import figure_json, save_html
from lens_core.figures.pair_dims import dimensions as pair_dimensions
from lens_core.figures.pair_dims import profile as pair_profile
from lens_core.figures.pair_histogram import histogram as pair_histogram
from lens_core.figures.pair_lines import layers as pair_layers
from lens_core.figures.png import save_png

__all__ = [
    "Line",
    "attention_course",
    "attention_depth",
    "attention_heads",
    "attention_tokens",
    "attribution_bars",
    "causal_grid",
    "faithfulness_strip",
    "figure_json",
    "layer_change",
    "lens_attribution",
    "lens_heatmap",
    "lens_ranks",
    "lens_trajectories",
    "pair_dimensions",
    "pair_histogram",
    "pair_layers",
    "pair_profile",
    "save_html",
    "save_png",
    "write_comparison",
    "write_layer_figures",
    "write_pair_figures",
]
