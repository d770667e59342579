"""Names, places, things and plain words that the generators draw from."""


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _listed(
    """
    Mary John Tom Anna James Sarah Peter Emma David Laura Paul Lisa Mark Julia Kevin Alice
    Robert Susan Michael Karen Daniel Helen Thomas Nancy Andrew Grace George Ruth Henry Clara
    Oliver Sophie Jack Lucy Sam Kate Ben Jane Max Nora Leo Eva Adam Rosa Simon Maria Frank Diana
    Martin Amy Victor Linda Oscar Carol Felix Ella Hugo Ida Bob Rachel
    """
)

PLACES = _listed(
    """
    store park school house station beach market garden library hospital office restaurant zoo
    cinema museum
    """
)

THINGS = _listed(
    """
    drink book ball ring kiss letter flower cake bone computer basketball necklace snack gift
    map pen key coat watch hat
    """
)

WORDS = _listed(
    """
    red blue green yellow black white brown pink grey orange purple one two three four five six
    seven eight nine ten apple pear plum grape lemon cherry melon bread milk cheese butter egg
    rice soup salt sugar tea coffee water wine dog cat cow sheep horse pig duck hen goat bear
    deer goose frog swan lion wolf snake bee owl mouse bird fish fox table chair lamp door
    window floor wall roof bed desk box bag cup plate fork knife spoon bottle glass clock tree
    leaf root stone sand river lake sea hill rock cloud rain wind storm snow ice fire smoke sun
    moon star sky car bus train boat plane bike road bridge street city town farm field forest
    island valley mountain hand foot head arm leg eye ear nose mouth hair heart bone shirt shoe
    coat hat ring belt sock glove king queen prince farmer doctor teacher sailor soldier baker
    driver singer writer painter judge guard run walk jump swim sing dance read write draw play
    sleep eat cook wash build break open close push pull big small tall short fast slow old
    young hot cold wet dry soft hard loud quiet clean dirty rich poor paper pencil ball drum
    flute piano song story game card coin gold silver iron wood wool silk rope nail
    """
)

NUMBERS = _listed(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty
    """
)
"""The words for 0 to 20."""

CHINESE_WORDS = _listed(
    """
    红 蓝 绿 黄 黑 白 山 水 火 木 金 土 日 月 星 云 雨 风 雪 花 草 树 鱼 鸟 马 牛 羊 狗 猫 米 茶
    书 门 窗 车 船 桥 路 手 足
    """
)

JAPANESE_WORDS = _listed(
    """
    赤 青 緑 黄色 黒 白 山 川 海 空 月 星 雲 雨 風 雪 花 草 木 魚 鳥 馬 牛 羊 犬 猫 米 お茶 本
    りんご みかん バナナ レモン トマト パン バター ピアノ ギター テレビ ラジオ
    """
)
