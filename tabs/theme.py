"""Gradio's theme with the colours of the page, light and dark."""

from __future__ import annotations

import gradio.themes as themes

ACCENT = "#c2410c"


def theme() -> themes.Base:
    """White panels, hairlines, one accent; text has a contrast of at least 4.5 in both themes."""
    return themes.Default(
        font=[themes.Font("Lens Sans"), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=[themes.Font("Lens Mono"), "ui-monospace", "Consolas", "monospace"],
        radius_size=themes.sizes.radius_md,
    ).set(
        body_background_fill="#ffffff",
        body_background_fill_dark="#0f1114",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#17191d",
        block_background_fill="#ffffff",
        block_background_fill_dark="#17191d",
        body_text_color="#1f2328",
        body_text_color_dark="#eceef1",
        body_text_color_subdued="#57606a",
        body_text_color_subdued_dark="#a8b0bb",
        block_label_text_color="#57606a",
        block_label_text_color_dark="#a8b0bb",
        block_title_text_color="#57606a",
        block_title_text_color_dark="#a8b0bb",
        block_info_text_color="#57606a",
        block_info_text_color_dark="#a8b0bb",
        border_color_primary="#e1e4e8",
        border_color_primary_dark="#2c3038",
        color_accent=ACCENT,
        color_accent_soft="#fff3ea",
        color_accent_soft_dark="#33200f",
        button_primary_background_fill=ACCENT,
        button_primary_background_fill_dark=ACCENT,
        button_primary_background_fill_hover="#9a3412",
        button_primary_background_fill_hover_dark="#9a3412",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        button_large_text_size="*text_md",
        button_large_text_weight="600",
        button_secondary_background_fill="#f0f2f4",
        button_secondary_background_fill_dark="#23272e",
        block_shadow="none",
        block_shadow_dark="none",
        input_shadow="none",
        input_shadow_dark="none",
    )
