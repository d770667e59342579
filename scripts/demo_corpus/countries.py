"""Countries in three languages; some capitals and currencies are out of date on purpose."""

from dataclasses import dataclass

Trilingual = dict[str, str]
"""A name by language code: `en`, `zh`, `ja`."""


@dataclass(frozen=True)
class Country:
    """One country with the facts that the corpus states about it."""

    name: Trilingual
    capital: Trilingual
    language: str | None
    """Key into LANGUAGES; None where no single language would be the fair answer."""
    continent: str | None
    """Key into CONTINENTS; None where the country lies on two."""
    currency: str | None
    """English only; None where it is disputed or plural."""


# English | Chinese | Japanese | capital in the three | language | continent | currency
_TABLE = """
France|法国|フランス|Paris|巴黎|パリ|French|Europe|euro
Germany|德国|ドイツ|Berlin|柏林|ベルリン|German|Europe|euro
Italy|意大利|イタリア|Rome|罗马|ローマ|Italian|Europe|euro
Spain|西班牙|スペイン|Madrid|马德里|マドリード|Spanish|Europe|euro
Portugal|葡萄牙|ポルトガル|Lisbon|里斯本|リスボン|Portuguese|Europe|euro
Greece|希腊|ギリシャ|Athens|雅典|アテネ|Greek|Europe|euro
Austria|奥地利|オーストリア|Vienna|维也纳|ウィーン|German|Europe|euro
Poland|波兰|ポーランド|Warsaw|华沙|ワルシャワ|Polish|Europe|zloty
Hungary|匈牙利|ハンガリー|Budapest|布达佩斯|ブダペスト|Hungarian|Europe|forint
Sweden|瑞典|スウェーデン|Stockholm|斯德哥尔摩|ストックホルム|Swedish|Europe|krona
Norway|挪威|ノルウェー|Oslo|奥斯陆|オスロ|Norwegian|Europe|krone
Denmark|丹麦|デンマーク|Copenhagen|哥本哈根|コペンハーゲン|Danish|Europe|krone
Finland|芬兰|フィンランド|Helsinki|赫尔辛基|ヘルシンキ|Finnish|Europe|euro
Iceland|冰岛|アイスランド|Reykjavik|雷克雅未克|レイキャビク|Icelandic|Europe|krona
Ireland|爱尔兰|アイルランド|Dublin|都柏林|ダブリン|English|Europe|euro
Russia|俄罗斯|ロシア|Moscow|莫斯科|モスクワ|Russian||ruble
Ukraine|乌克兰|ウクライナ|Kyiv|基辅|キーウ|Ukrainian|Europe|hryvnia
Romania|罗马尼亚|ルーマニア|Bucharest|布加勒斯特|ブカレスト|Romanian|Europe|leu
Bulgaria|保加利亚|ブルガリア|Sofia|索非亚|ソフィア|Bulgarian|Europe|lev
Croatia|克罗地亚|クロアチア|Zagreb|萨格勒布|ザグレブ|Croatian|Europe|kuna
Serbia|塞尔维亚|セルビア|Belgrade|贝尔格莱德|ベオグラード|Serbian|Europe|dinar
the Netherlands|荷兰|オランダ|Amsterdam|阿姆斯特丹|アムステルダム|Dutch|Europe|euro
Belgium|比利时|ベルギー|Brussels|布鲁塞尔|ブリュッセル||Europe|euro
Switzerland|瑞士|スイス|Bern|伯尔尼|ベルン||Europe|franc
the United Kingdom|英国|イギリス|London|伦敦|ロンドン|English|Europe|pound
Turkey|土耳其|トルコ|Ankara|安卡拉|アンカラ|Turkish||lira
Egypt|埃及|エジプト|Cairo|开罗|カイロ|Arabic|Africa|pound
Morocco|摩洛哥|モロッコ|Rabat|拉巴特|ラバト|Arabic|Africa|dirham
Algeria|阿尔及利亚|アルジェリア|Algiers|阿尔及尔|アルジェ|Arabic|Africa|dinar
Libya|利比亚|リビア|Tripoli|的黎波里|トリポリ|Arabic|Africa|dinar
Sudan|苏丹|スーダン|Khartoum|喀土穆|ハルツーム|Arabic|Africa|pound
Ethiopia|埃塞俄比亚|エチオピア|Addis Ababa|亚的斯亚贝巴|アディスアベバ|Amharic|Africa|birr
Kenya|肯尼亚|ケニア|Nairobi|内罗毕|ナイロビ|Swahili|Africa|shilling
Tanzania|坦桑尼亚|タンザニア|Dar es Salaam|达累斯萨拉姆|ダルエスサラーム|Swahili|Africa|shilling
Uganda|乌干达|ウガンダ|Kampala|坎帕拉|カンパラ|English|Africa|shilling
Nigeria|尼日利亚|ナイジェリア|Lagos|拉各斯|ラゴス|English|Africa|naira
Ghana|加纳|ガーナ|Accra|阿克拉|アクラ|English|Africa|cedi
Senegal|塞内加尔|セネガル|Dakar|达喀尔|ダカール|French|Africa|franc
Burundi|布隆迪|ブルンジ|Bujumbura|布琼布拉|ブジュンブラ||Africa|franc
Ivory Coast|科特迪瓦|コートジボワール|Abidjan|阿比让|アビジャン|French|Africa|franc
Angola|安哥拉|アンゴラ|Luanda|罗安达|ルアンダ|Portuguese|Africa|kwanza
Zambia|赞比亚|ザンビア|Lusaka|卢萨卡|ルサカ|English|Africa|kwacha
Zimbabwe|津巴布韦|ジンバブエ|Harare|哈拉雷|ハラレ||Africa|
Namibia|纳米比亚|ナミビア|Windhoek|温得和克|ウィントフック|English|Africa|dollar
Rwanda|卢旺达|ルワンダ|Kigali|基加利|キガリ||Africa|franc
Japan|日本|日本|Tokyo|东京|東京|Japanese|Asia|yen
China|中国|中国|Beijing|北京|北京|Chinese|Asia|yuan
South Korea|韩国|韓国|Seoul|首尔|ソウル|Korean|Asia|won
Mongolia|蒙古|モンゴル|Ulaanbaatar|乌兰巴托|ウランバートル|Mongolian|Asia|tugrik
Vietnam|越南|ベトナム|Hanoi|河内|ハノイ|Vietnamese|Asia|dong
Thailand|泰国|タイ|Bangkok|曼谷|バンコク|Thai|Asia|baht
Cambodia|柬埔寨|カンボジア|Phnom Penh|金边|プノンペン|Khmer|Asia|riel
Laos|老挝|ラオス|Vientiane|万象|ビエンチャン|Lao|Asia|kip
Myanmar|缅甸|ミャンマー|Yangon|仰光|ヤンゴン|Burmese|Asia|kyat
Malaysia|马来西亚|マレーシア|Kuala Lumpur|吉隆坡|クアラルンプール|Malay|Asia|ringgit
the Philippines|菲律宾|フィリピン|Manila|马尼拉|マニラ|Filipino|Asia|peso
India|印度|インド|New Delhi|新德里|ニューデリー|Hindi|Asia|rupee
Pakistan|巴基斯坦|パキスタン|Islamabad|伊斯兰堡|イスラマバード|Urdu|Asia|rupee
Bangladesh|孟加拉国|バングラデシュ|Dhaka|达卡|ダッカ|Bengali|Asia|taka
Nepal|尼泊尔|ネパール|Kathmandu|加德满都|カトマンズ|Nepali|Asia|rupee
Afghanistan|阿富汗|アフガニスタン|Kabul|喀布尔|カブール||Asia|afghani
Iran|伊朗|イラン|Tehran|德黑兰|テヘラン|Persian|Asia|rial
Iraq|伊拉克|イラク|Baghdad|巴格达|バグダッド|Arabic|Asia|dinar
Saudi Arabia|沙特阿拉伯|サウジアラビア|Riyadh|利雅得|リヤド|Arabic|Asia|riyal
Syria|叙利亚|シリア|Damascus|大马士革|ダマスカス|Arabic|Asia|pound
Lebanon|黎巴嫩|レバノン|Beirut|贝鲁特|ベイルート|Arabic|Asia|pound
Kazakhstan|哈萨克斯坦|カザフスタン|Almaty|阿拉木图|アルマトイ|Kazakh||tenge
Canada|加拿大|カナダ|Ottawa|渥太华|オタワ|English|North America|dollar
the United States|美国|アメリカ|Washington|华盛顿|ワシントン|English|North America|dollar
Cuba|古巴|キューバ|Havana|哈瓦那|ハバナ|Spanish|North America|peso
Brazil|巴西|ブラジル|Brasilia|巴西利亚|ブラジリア|Portuguese|South America|real
Argentina|阿根廷|アルゼンチン|Buenos Aires|布宜诺斯艾利斯|ブエノスアイレス|Spanish|South America|peso
Chile|智利|チリ|Santiago|圣地亚哥|サンティアゴ|Spanish|South America|peso
Peru|秘鲁|ペルー|Lima|利马|リマ|Spanish|South America|sol
Colombia|哥伦比亚|コロンビア|Bogota|波哥大|ボゴタ|Spanish|South America|peso
Ecuador|厄瓜多尔|エクアドル|Quito|基多|キト|Spanish|South America|dollar
Uruguay|乌拉圭|ウルグアイ|Montevideo|蒙得维的亚|モンテビデオ|Spanish|South America|peso
Paraguay|巴拉圭|パラグアイ|Asuncion|亚松森|アスンシオン|Spanish|South America|guarani
Venezuela|委内瑞拉|ベネズエラ|Caracas|加拉加斯|カラカス|Spanish|South America|bolivar
Australia|澳大利亚|オーストラリア|Canberra|堪培拉|キャンベラ|English|Oceania|dollar
New Zealand|新西兰|ニュージーランド|Wellington|惠灵顿|ウェリントン|English|Oceania|dollar
Fiji|斐济|フィジー|Suva|苏瓦|スバ|English|Oceania|dollar
Palau|帕劳|パラオ|Koror|科罗尔|コロール||Oceania|dollar
"""  # noqa: E501 - a row is one line, and wide characters count double

LANGUAGES: dict[str, Trilingual] = {
    en: {"en": en, "zh": zh, "ja": ja}
    for en, zh, ja in (
        line.split()
        for line in """
French 法语 フランス語
German 德语 ドイツ語
Italian 意大利语 イタリア語
Spanish 西班牙语 スペイン語
Portuguese 葡萄牙语 ポルトガル語
Greek 希腊语 ギリシャ語
Polish 波兰语 ポーランド語
Hungarian 匈牙利语 ハンガリー語
Swedish 瑞典语 スウェーデン語
Norwegian 挪威语 ノルウェー語
Danish 丹麦语 デンマーク語
Finnish 芬兰语 フィンランド語
Icelandic 冰岛语 アイスランド語
English 英语 英語
Russian 俄语 ロシア語
Ukrainian 乌克兰语 ウクライナ語
Romanian 罗马尼亚语 ルーマニア語
Bulgarian 保加利亚语 ブルガリア語
Croatian 克罗地亚语 クロアチア語
Serbian 塞尔维亚语 セルビア語
Dutch 荷兰语 オランダ語
Turkish 土耳其语 トルコ語
Arabic 阿拉伯语 アラビア語
Amharic 阿姆哈拉语 アムハラ語
Swahili 斯瓦希里语 スワヒリ語
Japanese 日语 日本語
Chinese 汉语 中国語
Korean 韩语 韓国語
Mongolian 蒙古语 モンゴル語
Vietnamese 越南语 ベトナム語
Thai 泰语 タイ語
Khmer 高棉语 クメール語
Lao 老挝语 ラオス語
Burmese 缅甸语 ビルマ語
Malay 马来语 マレー語
Filipino 菲律宾语 フィリピノ語
Hindi 印地语 ヒンディー語
Urdu 乌尔都语 ウルドゥー語
Bengali 孟加拉语 ベンガル語
Nepali 尼泊尔语 ネパール語
Persian 波斯语 ペルシア語
Kazakh 哈萨克语 カザフ語
""".strip().splitlines()
    )
}

CONTINENTS: dict[str, Trilingual] = {
    "Europe": {"en": "Europe", "zh": "欧洲", "ja": "ヨーロッパ"},
    "Asia": {"en": "Asia", "zh": "亚洲", "ja": "アジア"},
    "Africa": {"en": "Africa", "zh": "非洲", "ja": "アフリカ"},
    "North America": {"en": "North America", "zh": "北美洲", "ja": "北アメリカ"},
    "South America": {"en": "South America", "zh": "南美洲", "ja": "南アメリカ"},
    "Oceania": {"en": "Oceania", "zh": "大洋洲", "ja": "オセアニア"},
}

CAPITALS_TODAY: dict[str, Trilingual] = {
    "Kazakhstan": {"en": "Astana", "zh": "阿斯塔纳", "ja": "アスタナ"},
    "Burundi": {"en": "Gitega", "zh": "基特加", "ja": "ギテガ"},
    "Nigeria": {"en": "Abuja", "zh": "阿布贾", "ja": "アブジャ"},
    "Myanmar": {"en": "Naypyidaw", "zh": "内比都", "ja": "ネピドー"},
    "Tanzania": {"en": "Dodoma", "zh": "多多马", "ja": "ドドマ"},
    "Ivory Coast": {"en": "Yamoussoukro", "zh": "亚穆苏克罗", "ja": "ヤムスクロ"},
    "Palau": {"en": "Ngerulmud", "zh": "恩吉鲁穆德", "ja": "マルキョク"},
}
"""Today's capital of each country whose former capital the corpus states on purpose."""

CURRENCIES_TODAY: dict[str, str] = {"Croatia": "euro", "Bulgaria": "euro"}
"""Today's currency where the corpus states the former one on purpose."""


def _country(line: str) -> Country:
    en, zh, ja, capital_en, capital_zh, capital_ja, language, continent, currency = line.split("|")
    return Country(
        name={"en": en, "zh": zh, "ja": ja},
        capital={"en": capital_en, "zh": capital_zh, "ja": capital_ja},
        language=language or None,
        continent=continent or None,
        currency=currency or None,
    )


COUNTRIES: tuple[Country, ...] = tuple(_country(line) for line in _TABLE.strip().splitlines())
