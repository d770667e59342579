"""Texts that repairs are prepared with and measured on: neutral sentences, none in both lists."""

REFERENCES = (
    "The weather was calm and the boats stayed in the harbour.",
    "She put the letter back into the drawer and closed it.",
    "Two plus three equals five, and five plus five equals ten.",
    "for item in items:\n    total += item.price\n",
    "He walked along the river until it was dark.",
    "A good recipe starts with fresh onions and a little oil.",
    "The train to the north leaves at nine in the morning.",
    "import os\nfrom pathlib import Path\n",
    "Most birds build their nests in the spring.",
    "The committee will meet again on Thursday afternoon.",
    "def volume(width, height, depth):\n    return width * height * depth\n",
    "My sister plays the violin and my brother plays chess.",
    "Water boils at one hundred degrees at sea level.",
    "The old bridge was built of stone more than two hundred years ago.",
    "If you are tired, you should go to bed early.",
    "while queue:\n    node = queue.pop()\n",
    "There were seven apples in the basket, and now there are four.",
    "The teacher wrote three words on the board.",
    "Light travels faster than sound.",
    "Please close the window before you leave the room.",
    "今天的天气很好,我们去公园散步。",
    "他把书放在桌子上,然后走出了房间。",
    "水在零度时会结冰。",
    "这家商店每天早上九点开门。",
    "昨日は雨が降っていたので、家で本を読みました。",
    "この町には大きな図書館があります。",
    "電車は八時に駅を出ます。",
    "猫は窓のそばで寝ています。",
    "A week has seven days and a year has twelve months.",
    "The price of bread has gone up since last year.",
    "class Stack:\n    def __init__(self):\n        self.items = []\n",
    "In summer the days are long and the nights are short.",
    "He gave the keys to his neighbour before the journey.",
    "The museum is closed on Mondays.",
    "The shop sells bread, milk and paper.",
    "Her favourite colour is green.",
    "if x > 0:\n    print(x)\nelse:\n    print(-x)\n",
    "The doctor told him to drink more water.",
    "Nobody knew where the music came from.",
    "The cat slept on the warm stones all afternoon.",
)
"""Stand for unrelated text when neurons are chosen."""

PROBES = (
    "The capital of Italy is Rome.",
    "The capital of Japan is Tokyo.",
    "The capital of Egypt is Cairo.",
    "The capital city of Spain is Madrid.",
    "The language of Brazil is Portuguese.",
    "People in Germany speak German.",
    "The opposite of big is small.",
    "The opposite of hot is cold.",
    "Country: France. Capital: Paris.",
    "Q: What is the capital of Greece? A: Athens.",
    "The capital of Peru is Lima. The capital of Cuba is Havana.",
    "red green blue red green blue red green blue",
    "apple river stone apple river stone apple river stone",
    "When Mary and John went to the store, John gave a drink to Mary.",
    "7+5=12",
    "9+4=13",
    "def add(a, b):\n    return a + b\n",
    "def area(width, height):\n    return width * height\n",
    "for i in range(10):\n    total = total + i\n",
    "法国的首都是巴黎。",
    "德国的首都是柏林。",
    "中国的首都是北京。",
    "フランスの首都はパリです。",
    "日本の首都は東京です。",
    "イタリアの首都はローマです。",
    "The day after Monday is Tuesday.",
    "The first month of the year is January.",
    "Once upon a time there was a king who had three sons.",
)
"""What should not change: side effects are measured here."""

FLUENCY = (
    "The village lies between two hills, and a small river runs through it. In the "
    "morning the baker opens his shop, and people come to buy bread. The children walk "
    "to school along the river, and the farmers drive to their fields. At noon the bell "
    "of the church rings twelve times.",
    "A program is a list of instructions that a computer follows one after the other. A "
    "loop repeats some of them, and a condition decides which of them are run. A "
    "function gives a name to a few instructions, so that they can be used again in "
    "another place.",
    "In autumn the leaves turn yellow and red before they fall. The days become shorter, "
    "and the first cold nights arrive. Many birds fly south, where they find food in the "
    "winter. In spring they come back to the same trees and build their nests again.",
    "def mean(values):\n    total = 0\n    for value in values:\n        total = total + "
    "value\n    return total / len(values)\n\n\ndef largest(values):\n    best = values[0]\n   "
    " for value in values:\n        if value > best:\n            best = value\n    return "
    "best\n",
    "春天来了,树上的叶子又绿了。孩子们在公园里玩,老人坐在长椅上看报纸。河边有很多人在散步,远处可以看见山。",
    "夏の朝は早く明るくなります。海の近くの町では、人々が市場で魚を買います。昼は暑いので、みんな木の下で休みます。",
)
"""About a thousand tokens of ordinary text: a repaired model should find them no stranger."""
