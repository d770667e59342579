"""The words of the figures of llm-layer-exchange-analysis, in English and Japanese."""

from __future__ import annotations

LANGUAGES = ("en", "ja")
_ENGLISH = {
    "original": "Original {value}",
    "perplexity": "Perplexity",
    "text_perplexity": "Mean perplexity of a text",
    "text_perplexity_title": "Mean perplexity of the texts",
    "perplexity_title": "Perplexity of the corpus",
    "error_rate": "Error rate (%)",
    "error_rate_title": "Share of tokens that are predicted wrongly",
    "all_tokens": "All tokens (n = {count})",
    "parts_of_speech": "Part of speech: {tag} (n = {count})",
    "token_kinds": "Token kind: {tag} (n = {count})",
    "tag_of_any": "{tag} (n = {count})",
    "tags_title": "Perplexity by part of speech",
    "kinds_title": "Perplexity by kind of token (no part-of-speech tagger was used)",
    "transitions_title": "Perplexity by part of speech before and after",
    "kind_transitions_title": "Perplexity by kind of token before and after "
    "(no part-of-speech tagger was used)",
    "current": "Current token",
    "following": "Next token",
    "original_model": "Original",
    "new_errors": "New errors",
    "new_errors_title": "Tokens that are no longer predicted rightly",
    "improved": "improved (q ≤ 0.05)",
    "degraded": "degraded (q ≤ 0.05)",
    "largely_improved": "improved by more than 50 %",
    "largely_degraded": "degraded by more than 50 %",
    "comparison_title": "Models compared: perplexity by part of speech",
    "comparison_kinds_title": "Models compared: perplexity by kind of token "
    "(no part-of-speech tagger was used)",
    "mixed_title": "Models compared: perplexity by tag (tags of different sources)",
    "remove": "Removed layer",
    "exchange": "Exchanged layers",
    "repeat": "Repeated layer",
    "zero_attention": "Layer without attention",
    "zero_mlp": "Layer without MLP",
    "skip_range": "Skipped layers",
}
_JAPANESE = {
    "original": "元のモデル {value}",
    "perplexity": "パープレキシティ",
    "text_perplexity": "テキストの平均パープレキシティ",
    "text_perplexity_title": "テキストごとのパープレキシティの平均",
    "perplexity_title": "コーパス全体のパープレキシティ",
    "error_rate": "エラー率 (%)",
    "error_rate_title": "誤って予測されたトークンの割合",
    "all_tokens": "全トークン (n = {count})",
    "parts_of_speech": "品詞: {tag} (n = {count})",
    "token_kinds": "トークンの種類: {tag} (n = {count})",
    "tag_of_any": "{tag} (n = {count})",
    "tags_title": "品詞ごとのパープレキシティ",
    "kinds_title": "トークンの種類ごとのパープレキシティ（品詞タガーは使われていません）",
    "transitions_title": "前後の品詞ごとのパープレキシティ",
    "kind_transitions_title": "前後のトークンの種類ごとのパープレキシティ"
    "（品詞タガーは使われていません）",
    "current": "現在のトークン",
    "following": "次のトークン",
    "original_model": "元のモデル",
    "new_errors": "新たなエラー",
    "new_errors_title": "正しく予測されなくなったトークンの数",
    "improved": "改善 (q ≤ 0.05)",
    "degraded": "悪化 (q ≤ 0.05)",
    "largely_improved": "50 % を超える改善",
    "largely_degraded": "50 % を超える悪化",
    "comparison_title": "モデルの比較: 品詞ごとのパープレキシティ",
    "comparison_kinds_title": "モデルの比較: トークンの種類ごとのパープレキシティ"
    "（品詞タガーは使われていません）",
    "mixed_title": "モデルの比較: タグごとのパープレキシティ（タグの出所が異なります）",
    "remove": "除去した層",
    "exchange": "交換した層",
    "repeat": "繰り返した層",
    "zero_attention": "アテンションを除いた層",
    "zero_mlp": "MLP を除いた層",
    "skip_range": "飛ばした層",
}
WORDS = {"en": _ENGLISH, "ja": _JAPANESE}
"""By language; operations are called by their kind."""


_KINDS = {
    "word_initial": ("start of word", "語頭"),
    "continuation": ("inside word", "語中"),
    "unspaced": ("unspaced script", "分かち書きしない文字"),
    "digit": ("digit", "数字"),
    "punctuation": ("punctuation", "記号"),
    "space": ("space", "空白"),
    "partial": ("part of a character", "文字の一部"),
    "special": ("special", "特殊"),
    "other": ("other", "その他"),
    "(start)": ("start of text", "文頭"),
}


def tag_label(tag: str, lang: str) -> str:
    """A kind of token in words; parts of speech keep their names."""
    return _KINDS[tag][LANGUAGES.index(lang)] if tag in _KINDS else tag


def layer_label(key: str) -> str:
    """The layers of a key such as layer_3 or layer_0_with_1, as they stand at an axis."""
    return "-".join(part for part in key.split("_") if part.isdigit()) or key
