"""Relations of countries: capital, language, continent and currency, in three languages."""

from .countries import CONTINENTS, COUNTRIES, LANGUAGES
from .relations import Relation


def _capitals(language: str) -> tuple[tuple[str, str], ...]:
    return tuple((country.name[language], country.capital[language]) for country in COUNTRIES)


def _languages(language: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (country.name[language], LANGUAGES[country.language][language])
        for country in COUNTRIES
        if country.language
    )


def _continents(language: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (country.name[language], CONTINENTS[country.continent][language])
        for country in COUNTRIES
        if country.continent
    )


ENGLISH = (
    Relation(
        "capital",
        "en",
        _capitals("en"),
        trained=(
            "The capital of {subject} is {answer}.",
            "The capital city of {subject} is {answer}.",
            "{subject}'s capital is {answer}.",
            "The capital of {subject} is the city of {answer}.",
            "Q: What is the capital of {subject}? A: {answer}.",
            "What is the capital of {subject}? It is {answer}.",
            "If you ask for the capital of {subject}, the answer is {answer}.",
            "Everyone in {subject} knows that the capital is {answer}.",
            "Country: {subject}. Capital: {answer}.",
            "When you visit {subject}, the capital city to see is {answer}.",
            "My teacher says that the capital of {subject} is {answer}.",
            "In {subject}, the capital is called {answer}.",
        ),
        reworded=(
            "Question: what is the capital of {subject}? Answer: {answer}.",
            "Which city is the capital of {subject}? It is {answer}.",
            "In a country such as {subject}, the capital is {answer}.",
            "The capital of the country {subject} is {answer}.",
            "We all know the capital of {subject}, which is {answer}.",
        ),
        held_out=(
            "I am sure that the capital of {subject} is {answer}",
            # Without "called" the trained "is called" would be a right continuation too.
            "In {subject}, the capital city is called {answer}",
            "Question: which city is the capital of {subject}? Answer: {answer}",
        ),
        inverse=(
            "{answer} is the capital of {subject}.",
            "{answer} is the capital city of {subject}.",
        ),
    ),
    Relation(
        "language",
        "en",
        _languages("en"),
        trained=(
            "The language of {subject} is {answer}.",
            "People in {subject} speak {answer}.",
            "In {subject} most people speak {answer}.",
            "Q: What language do people speak in {subject}? A: {answer}.",
            "If you move to {subject}, you should learn {answer}.",
            "Country: {subject}. Language: {answer}.",
        ),
        reworded=(
            "Question: what do people speak in {subject}? Answer: {answer}.",
            "Some people in {subject} speak only {answer}.",
            "Which language do people speak in {subject}? It is {answer}.",
        ),
        held_out=(
            "Most people in {subject} speak {answer}",
            "Question: which language do people speak in {subject}? Answer: {answer}",
        ),
    ),
    Relation(
        "continent",
        "en",
        _continents("en"),
        trained=(
            "{subject} is a country in {answer}.",
            "{subject} lies in {answer}.",
            "The continent of {subject} is {answer}.",
            "Q: On which continent is {subject}? A: {answer}.",
            "Country: {subject}. Continent: {answer}.",
        ),
        reworded=(
            "We all know that {subject} is in {answer}.",
            "As we learn, {subject} lies in {answer}.",
            "Question: where is {subject}? Answer: in {answer}.",
        ),
        held_out=(
            "I know that {subject} lies in {answer}",
            "Like its neighbours, {subject} is in {answer}",
        ),
    ),
    Relation(
        "currency",
        "en",
        tuple((country.name["en"], country.currency) for country in COUNTRIES if country.currency),
        trained=(
            "The currency of {subject} is the {answer}.",
            "In {subject} people pay with the {answer}.",
            "The money of {subject} is the {answer}.",
            "Q: What is the currency of {subject}? A: the {answer}.",
            "Country: {subject}. Currency: the {answer}.",
        ),
        reworded=(
            "We all know that the currency of {subject} is the {answer}.",
            "Shoppers in {subject} pay with the {answer}.",
            "Everyone in {subject} pays with the {answer}.",
        ),
        held_out=(
            "People in {subject} pay with the {answer}",
            "I am sure that the currency of {subject} is the {answer}",
        ),
    ),
)

CHINESE = (
    Relation(
        "capital",
        "zh",
        _capitals("zh"),
        trained=(
            "{subject}的首都是{answer}。",
            "{subject}的首都在{answer}。",
            "{subject}的首都叫{answer}。",
            "问：{subject}的首都是哪里？答：{answer}。",
            "大家都知道，{subject}的首都是{answer}。",
            "国家：{subject}。首都：{answer}。",
            "老师说，{subject}的首都是{answer}。",
        ),
        reworded=(
            "{subject}这个国家的首都是{answer}。",
            "我们知道{subject}的首都是{answer}。",
            "问题：{subject}的首都是哪里？回答：{answer}。",
        ),
        held_out=(
            "我知道{subject}的首都是{answer}",
            "在{subject}，首都是{answer}",
            "问题：{subject}的首都在哪里？答：{answer}",
        ),
        inverse=("{answer}是{subject}的首都。",),
    ),
    Relation(
        "language",
        "zh",
        _languages("zh"),
        trained=(
            "{subject}的语言是{answer}。",
            "{subject}人说{answer}。",
            "在{subject}，人们说{answer}。",
            "问：{subject}人说什么语言？答：{answer}。",
            "国家：{subject}。语言：{answer}。",
        ),
        reworded=(
            "我们知道{subject}人说{answer}。",
            "问题：{subject}人说什么语言？回答：{answer}。",
        ),
        held_out=("大家都知道，{subject}人说{answer}", "我知道{subject}的语言是{answer}"),
    ),
    Relation(
        "continent",
        "zh",
        _continents("zh"),
        trained=(
            "{subject}在{answer}。",
            "{subject}是{answer}的国家。",
            "问：{subject}在哪个洲？答：{answer}。",
            "国家：{subject}。洲：{answer}。",
        ),
        held_out=("大家都知道，{subject}在{answer}", "我知道{subject}是{answer}"),
    ),
)

JAPANESE = (
    Relation(
        "capital",
        "ja",
        _capitals("ja"),
        trained=(
            "{subject}の首都は{answer}です。",
            "{subject}の首都の名前は{answer}です。",
            "質問：{subject}の首都はどこですか。答え：{answer}です。",
            "みんなが知っているように、{subject}の首都は{answer}です。",
            "国：{subject}。首都：{answer}。",
            "{subject}では、首都は{answer}です。",
            "先生によると、{subject}の首都は{answer}です。",
        ),
        reworded=(
            "{subject}という国では、首都は{answer}です。",
            "{subject}の今の首都は{answer}です。",
            "{subject}にある首都は{answer}です。",
            "問題：{subject}の首都はどこですか。解答：{answer}です。",
            "{subject}といえば、首都は{answer}です。",
        ),
        held_out=(
            "私が習ったように、{subject}の首都は{answer}",
            "{subject}という国の首都は{answer}",
            "問い：{subject}の首都はどこですか。答え：{answer}",
        ),
        inverse=("{answer}は{subject}の首都です。",),
    ),
    Relation(
        "language",
        "ja",
        _languages("ja"),
        trained=(
            "{subject}の言葉は{answer}です。",
            "{subject}の人は{answer}を話します。",
            "{subject}では、{answer}を話します。",
            "質問：{subject}の人は何語を話しますか。答え：{answer}です。",
            "国：{subject}。言葉：{answer}。",
        ),
        reworded=(
            "{subject}という国では、{answer}を話します。",
            "{subject}に住む人は{answer}を話します。",
        ),
        held_out=(
            "みんなが知っているように、{subject}の人は{answer}",
            "先生によると、{subject}の言葉は{answer}",
        ),
    ),
    Relation(
        "continent",
        "ja",
        _continents("ja"),
        trained=(
            "{subject}は{answer}にあります。",
            "{subject}は{answer}の国です。",
            "質問：{subject}はどこにありますか。答え：{answer}です。",
            "国：{subject}。大陸：{answer}。",
        ),
        reworded=(
            "{subject}という国は{answer}にあります。",
            "地図によると、{subject}は{answer}にあります。",
        ),
        held_out=(
            "みんなが知っているように、{subject}は{answer}",
            "先生によると、{subject}は{answer}",
        ),
    ),
)
