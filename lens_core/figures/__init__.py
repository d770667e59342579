"""Results as figures: Plotly objects, self-contained HTML, and PNG by Matplotlib.

The only part of the core that imports Plotly or Matplotlib, and only when a figure is made.
Functions take a result or its JSON form. Every text in a figure is escaped: Plotly would read
tokens as markup.
"""

from lens_core.figures.lens_bars import attribution as lens_attribution
from lens_core.figures.lens_grids import heatmap as lens_heatmap
from lens_core.figures.lens_grids import ranks as lens_ranks
from lens_core.figures.lens_lines import Line
from lens_core.figures.lens_lines import trajectories as lens_trajectories
from lens_core.figures.output import figure_json, save_html
from lens_core.figures.png import save_png

__all__ = [
    "Line",
    "figure_json",
    "lens_attribution",
    "lens_heatmap",
    "lens_ranks",
    "lens_trajectories",
    "save_html",
    "save_png",
]
