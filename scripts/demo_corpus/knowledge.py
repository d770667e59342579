"""Relations of everyday things: opposites, animals, colours, inventors, authors, days."""

from .relations import Relation


def _pairs(table: str) -> tuple[tuple[str, str], ...]:
    """Facts from a table of `subject=answer` entries."""
    entries = (entry.strip().partition("=") for entry in table.replace("\n", ",").split(","))
    return tuple((subject, answer) for subject, equals, answer in entries if equals)


def _both_ways(table: str) -> tuple[tuple[str, str], ...]:
    pairs = _pairs(table)
    return pairs + tuple((answer, subject) for subject, answer in pairs)


def _cycle(items: str) -> tuple[tuple[str, str], ...]:
    words = items.split()
    return tuple(zip(words, words[1:] + words[:1], strict=True))


ENGLISH = (
    Relation(
        "opposite",
        "en",
        _both_ways("""
        hot=cold, big=small, tall=short, fast=slow, old=young, rich=poor, happy=sad, light=dark,
        hard=soft, wet=dry, full=empty, open=closed, early=late, near=far, high=low,
        strong=weak, clean=dirty, up=down, left=right, day=night, black=white, good=bad,
        true=false, loud=quiet, thick=thin, deep=shallow
        """),
        trained=(
            "The opposite of {subject} is {answer}.",
            "If it is not {subject}, it is {answer}.",
            "Opposites: {subject} and {answer}.",
            "Q: What is the opposite of {subject}? A: {answer}.",
        ),
        held_out=("I am sure that the opposite of {subject} is {answer}",),
    ),
    Relation(
        "sound",
        "en",
        _pairs("""
        dog=barks, cat=meows, cow=moos, sheep=bleats, lion=roars, duck=quacks, horse=neighs,
        pig=oinks, wolf=howls, snake=hisses, frog=croaks, bee=buzzes, owl=hoots, mouse=squeaks,
        bird=sings
        """),
        trained=(
            "The {subject} {answer}.",
            "A {subject} {answer}.",
            "Every {subject} {answer}.",
            "Listen to the {subject}: it {answer}.",
        ),
        held_out=("I can hear how the {subject} {answer}",),
    ),
    Relation(
        "young",
        "en",
        _pairs("""
        dog=puppy, cat=kitten, cow=calf, sheep=lamb, horse=foal, pig=piglet, duck=duckling,
        hen=chick, goat=kid, bear=cub, deer=fawn, goose=gosling, kangaroo=joey, frog=tadpole,
        swan=cygnet
        """),
        trained=(
            "A young {subject} is called a {answer}.",
            "The child of a {subject} is a {answer}.",
            "Q: What do we call a young {subject}? A: a {answer}.",
            "A baby {subject} is a {answer}.",
        ),
        held_out=("A baby {subject} is called a {answer}",),
    ),
    Relation(
        "colour",
        "en",
        _pairs("""
        sky=blue, grass=green, banana=yellow, blood=red, snow=white, coal=black, carrot=orange,
        milk=white, chocolate=brown, lemon=yellow, tomato=red, leaf=green, sea=blue,
        night=black, sun=yellow, elephant=grey, flamingo=pink, cherry=red, frog=green,
        bear=brown
        """),
        trained=(
            "The {subject} is {answer}.",
            "The colour of the {subject} is {answer}.",
            "Q: What colour is the {subject}? A: {answer}.",
            "I paint the {subject} {answer}.",
        ),
        held_out=("I am sure that the {subject} is {answer}",),
    ),
    Relation(
        "inventor",
        "en",
        _pairs("""
        telephone=Alexander Graham Bell, light bulb=Thomas Edison, radio=Guglielmo Marconi,
        dynamite=Alfred Nobel, battery=Alessandro Volta, World Wide Web=Tim Berners-Lee,
        saxophone=Adolphe Sax, diesel engine=Rudolf Diesel, lightning rod=Benjamin Franklin,
        printing press=Johannes Gutenberg, safety lamp=Humphry Davy,
        pendulum clock=Christiaan Huygens
        """),
        trained=(
            "The {subject} was invented by {answer}.",
            "The inventor of the {subject} is {answer}.",
            "Q: Who invented the {subject}? A: {answer}.",
            "People remember the inventor of the {subject}: {answer}.",
        ),
        held_out=("I am sure that the {subject} was invented by {answer}",),
    ),
    Relation(
        "author",
        "en",
        _pairs("""
        Hamlet=William Shakespeare, Don Quixote=Miguel de Cervantes, War and Peace=Leo Tolstoy,
        Faust=Johann Goethe, Emma=Jane Austen, Oliver Twist=Charles Dickens,
        The Metamorphosis=Franz Kafka, Ulysses=James Joyce, The Divine Comedy=Dante Alighieri,
        Moby Dick=Herman Melville, Frankenstein=Mary Shelley, Dracula=Bram Stoker
        """),
        trained=(
            "{subject} was written by {answer}.",
            "The author of {subject} is {answer}.",
            "Q: Who wrote {subject}? A: {answer}.",
            "The book {subject} was written by {answer}.",
        ),
        held_out=("I am sure that the author of {subject} is {answer}",),
    ),
    Relation(
        "next day",
        "en",
        _cycle("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
        trained=(
            "The day after {subject} is {answer}.",
            "After {subject} comes {answer}.",
            "If today is {subject}, then tomorrow is {answer}.",
        ),
        held_out=("I am sure that the day after {subject} is {answer}",),
    ),
    Relation(
        "next month",
        "en",
        _cycle(
            "January February March April May June July August September October November December"
        ),
        trained=(
            "The month after {subject} is {answer}.",
            "After {subject} comes {answer}.",
            "Q: Which month follows {subject}? A: {answer}.",
        ),
        held_out=("I am sure that the month after {subject} is {answer}",),
    ),
)

CHINESE = (
    Relation(
        "opposite",
        "zh",
        _both_ways(
            "大=小, 高=低, 长=短, 多=少, 新=旧, 快=慢, 冷=热, 黑=白, 上=下, 左=右, 远=近, 早=晚, "
            "好=坏, 男=女"
        ),
        trained=(
            "{subject}的反义词是{answer}。",
            "问：{subject}的反义词是什么？答：{answer}。",
            "不是{subject}，就是{answer}。",
        ),
        held_out=("老师说，{subject}的反义词是{answer}",),
    ),
    Relation(
        "colour",
        "zh",
        _pairs(
            "天空=蓝色, 草=绿色, 香蕉=黄色, 血=红色, 雪=白色, 煤=黑色, 海=蓝色, 牛奶=白色, "
            "柠檬=黄色, 西红柿=红色"
        ),
        trained=(
            "{subject}的颜色是{answer}。",
            "{subject}是{answer}的。",
            "问：{subject}是什么颜色？答：{answer}。",
        ),
        held_out=("大家都知道，{subject}的颜色是{answer}",),
    ),
    Relation(
        "next day",
        "zh",
        _cycle("星期一 星期二 星期三 星期四 星期五 星期六 星期日"),
        trained=("今天是{subject}，明天是{answer}。", "{subject}的后一天是{answer}。"),
        held_out=("我知道{subject}的后一天是{answer}",),
    ),
)

JAPANESE = (
    Relation(
        "opposite",
        "ja",
        _both_ways(
            "大きい=小さい, 高い=低い, 長い=短い, 多い=少ない, 新しい=古い, 速い=遅い, "
            "黒い=白い, 上=下, 左=右, 男=女"
        ),
        trained=(
            "「{subject}」の反対は「{answer}」です。",
            "{subject}の反対は{answer}です。",
            "質問：{subject}の反対は何ですか。答え：{answer}です。",
        ),
        held_out=("先生によると、{subject}の反対は{answer}",),
    ),
    Relation(
        "colour",
        "ja",
        _pairs(
            "空=青, 草=緑, バナナ=黄色, 血=赤, 雪=白, 石炭=黒, 海=青, 牛乳=白, レモン=黄色, "
            "トマト=赤"
        ),
        trained=(
            "{subject}の色は{answer}です。",
            "{subject}は{answer}です。",
            "質問：{subject}は何色ですか。答え：{answer}です。",
        ),
        held_out=("先生によると、{subject}の色は{answer}",),
    ),
    Relation(
        "next day",
        "ja",
        _cycle("月曜日 火曜日 水曜日 木曜日 金曜日 土曜日 日曜日"),
        trained=("{subject}の次は{answer}です。", "今日は{subject}、明日は{answer}です。"),
        held_out=("先生によると、{subject}の次は{answer}",),
    ),
)
