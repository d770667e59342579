"""Units behind a number: 165种 is 165, 1 m is 100 cm, and 5 cm is not 5 kg.

What is not known to be a unit is none: "5 thirds" and "3 factorial" stay text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from lens_core.study.answer_signs import DOLLAR

MAX_UNIT = 40
"""The longest unit, in characters."""


@dataclass(frozen=True)
class Unit:
    """What a number counts or measures."""

    dimension: str
    """Units of one dimension can be compared."""
    factor: Fraction = Fraction(1)
    """How many of the dimension's first unit it is."""


COUNT = Unit("count")
PERCENT = Unit("percent")

_MEASURES: dict[str, dict[str, Fraction | int | str]] = {
    "length": {
        "m meter meters metre metres 米 公尺 メートル": 1,
        "cm centimeter centimeters centimetre centimetres 厘米 公分 センチ センチメートル": "1/100",
        "mm millimeter millimeters millimetre millimetres 毫米 ミリ ミリメートル": "1/1000",
        "dm decimeter decimeters 分米": "1/10",
        "km kilometer kilometers kilometre kilometres 千米 公里 キロメートル": 1000,
        "in inch inches 英寸": "254/10000",
        "ft foot feet 英尺": "3048/10000",
        "yd yard yards": "9144/10000",
        "mile miles 英里": "1609344/1000",
    },
    "area": {
        "m^2 m2 sqm 平方米 平米 平方メートル": 1,
        "cm^2 cm2 平方厘米 平方公分 平方センチメートル": "1/10000",
        "mm^2 mm2 平方毫米": "1/1000000",
        "dm^2 dm2 平方分米": "1/100",
        "km^2 km2 平方千米 平方公里": 1000000,
        "ha hectare hectares 公顷": 10000,
        "亩": "2000/3",
    },
    "volume": {
        "m^3 m3 立方米 立方メートル": 1,
        "cm^3 cm3 cc 立方厘米 立方センチメートル ml milliliter milliliters 毫升": "1/1000000",
        "dm^3 dm3 立方分米 l liter liters litre litres 升 リットル": "1/1000",
    },
    "mass": {
        "g gram grams 克 グラム": 1,
        "kg kilogram kilograms 千克 公斤 キログラム": 1000,
        "mg milligram milligrams 毫克": "1/1000",
        "t ton tons tonne tonnes 吨 トン": 1000000,
        "斤": 500,
        "lb lbs pound pounds 磅": "45359237/100000",
    },
    "time": {
        "s sec second seconds 秒 秒钟 秒間": 1,
        "min mins minute minutes 分钟 分間": 60,
        "h hr hrs hour hours 小时 个小时 時間": 3600,
        "day days 天 日間": 86400,
        "week weeks 周 星期 个星期 週間": 604800,
    },
    "years": {
        "year years 年 岁 周岁 歳 才 年間 yearsold": 12,
        "month months 月 个月 ヶ月 か月": 1,
    },
    "speed": {
        "m/s 米/秒 米每秒 meterspersecond": 1,
        "km/h kmh kph 千米/小时 千米/时 公里/小时 千米每小时 kilometersperhour": "5/18",
        "m/min 米/分 米/分钟 米每分钟": "1/60",
        "mph milesperhour miles/hour": "44704/100000",
    },
    "yuan": {"元 块 块钱 圆 人民币 yuan rmb ¥ 元钱": 1, "角 毛": "1/10", "万元": 10000},
    "dollar": {
        f"$ {DOLLAR} us$ us{DOLLAR} dollar dollars usd 美元 ドル": 1,
        "cent cents 美分": "1/100",
    },
    "yen": {"円 日元 yen jpy": 1},
    "euro": {"€ euro euros eur 欧元": 1},
    "sterling": {"£ gbp 英镑": 1},
    "angle": {"° degree degrees deg 度": 1},
    "radian": {"rad radian radians 弧度": 1},
    "temperature": {"°c 摄氏度 celsius degreescelsius": 1},
    "percent": {"% percent percents パーセント": 1},
}
_KNOWN = {
    name: Unit(dimension, Fraction(factor))
    for dimension, names in _MEASURES.items()
    for words, factor in names.items()
    for name in words.split()
}
_KNOWN |= dict.fromkeys(("unit", "units", "squareunits", "单位", "单位长度", "平方单位"), COUNT)
_SQUARED = re.compile(r"^(square|sq\.?|cubic) ?([a-z]+)$")
_COUNTERS = re.compile(
    "(?:种|種|个|個|名|位|人|只|隻|条|张|張|枚|本|件|颗|粒|支|枝|把|棵|株|辆|台|架|艘|间|套|对|双|组|"
    "次|回|遍|步|页|題|题|道|场|局|轮|排|行|列|层|家|箱|袋|瓶|杯|盒|包|桶|盘|碗|节|段|片|块|朵|头|匹|"
    "冊|册|期|级|倍|項|项|つ|通り|点|份|群|班|队|串|根|面|篇|封|幅|座|所|字|句|号|票|分)"
)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+")
# Behind a counter they change the number: 3个半, 3个多.
_MORE = re.compile("[半多余餘几幾又分零一二两三四五六七八九十百千万亿]")
_WORD = re.compile(r"[a-z]+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IRREGULAR = _words(
    "people person children child men women mice sheep fish ways way paths path time times apple "
    "book student boy girl ball point number integer solution root side edge face coin box pen "
    "pencil car cup tree bird egg step digit"
)
_NO_NOUNS = _words(
    "plus minus less is was has does this its as us tens hundreds thousands millions "
    "billions trillions dozens scores halves thirds quarters eighths modulus squares cubes powers "
    "bits pairs sums and or of to not mod factorial squared cubed divided multiplied over more "
    "each per half third quarter hundred thousand million dozen choose by log sin cos tan ln lg "
    "max min gcd lcm base"
)


def unit_of(text: str) -> Unit | None:
    """The unit that a text behind a number names, None where it names none.

    A single letter right behind the number is a variable: 5m is no length, 5 m is.
    """
    name = text.strip().lower()
    if not name or len(name) > MAX_UNIT:
        return None
    if len(name) == 1 and name.isascii() and name.isalpha() and text[0] != " ":
        return None
    name = name.replace("{", "").replace("}", "").rstrip(".")
    compact = name.replace(" ", "")
    if compact in _KNOWN:
        return _KNOWN[compact]
    if match := _SQUARED.match(name):
        side = _KNOWN.get(match.group(2))
        power = 3 if match.group(1) == "cubic" else 2
        if side is not None and side.dimension == "length":
            return Unit("volume" if power == 3 else "area", side.factor**power)
    return COUNT if _counts(name) else None


def currency_of(sign: str) -> Unit | None:
    """The unit of a sign before a number."""
    return _KNOWN.get(sign.lower())


def _counts(name: str) -> bool:
    """Whether a text is a counting word, with what is counted behind it, or a plural."""
    if _CJK.fullmatch(name):
        match = _COUNTERS.match(name)
        return match is not None and not _MORE.search(name, match.end())
    words = name.split()
    if not words or len(words) > 4 or not all(_WORD.fullmatch(word) for word in words):
        return False
    if "of" in words[1:-1] and _is_noun(words[0]):
        return not any(word in _NO_NOUNS - {"of"} for word in words[1:])
    return _is_noun(words[-1]) and not any(word in _NO_NOUNS for word in words[:-1])


def _is_noun(word: str) -> bool:
    if word in _IRREGULAR:
        return True
    return (
        len(word) > 3 and word.endswith("s") and not word.endswith("ths") and word not in _NO_NOUNS
    )
