"""Templates of bilingual mathematics problems, and the words that fill them."""

from dataclasses import dataclass

import numpy as np

Lexicon = list[tuple[str, str]]
"""Chinese words and their English ones."""


def lexicon(chinese: str, english: str) -> Lexicon:
    return list(zip(chinese.split(), english.split(", "), strict=True))


# Within a list all Chinese words take the same measure word, and all English ones the same article.
FRUITS = lexicon(
    "苹果 梨 桃子 橙子 柠檬 芒果 西瓜 石榴",
    "apples, pears, peaches, oranges, lemons, mangoes, watermelons, pomegranates",
)
PEOPLE = lexicon(
    "医生 护士 教师 学生 工程师 律师 司机 厨师",
    "doctors, nurses, teachers, students, engineers, lawyers, drivers, cooks",
)
SMALL_THINGS = lexicon(
    "糖果 珠子 纽扣 弹珠 种子 钉子 豆子 螺丝",
    "candies, beads, buttons, marbles, seeds, nails, beans, screws",
)
CONTAINERS = lexicon("盒子 袋子 篮子 罐子 抽屉 杯子", "boxes, bags, baskets, jars, drawers, cups")
FIELDS = lexicon(
    "菜地 草地 麦田 稻田 花圃 林地",
    "vegetable plot, lawn, wheat field, rice field, flower bed, woodland",
)
BUILT = lexicon(
    "水池 亭子 仓库 温室 喷泉 车库", "pool, pavilion, warehouse, greenhouse, fountain, garage"
)
SURNAMES = lexicon(
    "王 李 张 刘 陈 杨 赵 黄 周 吴", "Wang, Li, Zhang, Liu, Chen, Yang, Zhao, Huang, Zhou, Wu"
)
HALLS = lexicon(
    "剧院 礼堂 电影院 体育馆 音乐厅 教堂",
    "theater, auditorium, cinema, gymnasium, concert hall, church",
)


@dataclass(frozen=True)
class Template:
    """One problem in both languages, with slots."""

    chinese: str
    """The Chinese text."""
    english: str
    """The English text."""
    numbers: tuple[range, ...]
    """Values of the slots {0}, {1}, ..."""
    nouns: tuple[Lexicon, Lexicon]
    """Words of the slots {x} and {y}; the two of a problem always differ."""

    @property
    def problems(self) -> int:
        """How many problems have numbers of their own."""
        return int(np.prod([len(values) for values in self.numbers]))


# Every range is chosen so that the problem has a solution whatever the other numbers are.
TEMPLATES = {
    "arithmetic": Template(
        "{x}女士买了{0}个{y}，后来又买了{1}个，然后送出了{2}个。求剩下的{y}个数。",
        "Ms. {x} bought {0} {y}, later bought {1} more and then gave away {2} of them. "
        "Find the number of {y} left.",
        (range(20, 90), range(3, 20), range(5, 20)),
        (SURNAMES, FRUITS),
    ),
    "combinations": Template(
        "从{0}名{x}和{1}名{y}中选出{2}名{x}和{3}名{y}，一共有多少种不同的选法？",
        "From {0} {x} and {1} {y}, in how many different ways can {2} {x} and {3} {y} be chosen?",
        (range(8, 20), range(7, 16), range(2, 8), range(2, 7)),
        (PEOPLE, PEOPLE),
    ),
    "remainders": Template(
        "把{0}颗{x}平均放进{1}个{y}里，每个{y}都放得尽量多。求最后剩下的{x}颗数。",
        "Put {0} {x} equally into {1} {y}, with as many as possible in each. "
        "Find the number of {x} left over.",
        (range(100, 500), range(6, 20)),
        (SMALL_THINGS, CONTAINERS),
    ),
    "rectangle areas": Template(
        "一块长方形的{x}长{0}米，宽{1}米，中间有一个占地{2}平方米的{y}。求其余部分的面积。",
        "A rectangular {x} is {0} meters long and {1} meters wide, with a {y} of {2} square "
        "meters in the middle. Find the area of the rest.",
        (range(20, 80), range(8, 20), range(5, 40)),
        (FIELDS, BUILT),
    ),
    "arithmetic series": Template(
        "在{x}工程师设计的{y}里，第一排有{0}个座位，以后每排都比前一排多{1}个，一共有{2}排。"
        "求座位总数。",
        "In the {y} designed by engineer {x}, the first row has {0} seats, each later row has "
        "{1} more than the one before, and there are {2} rows. Find the total number of seats.",
        (range(10, 50), range(2, 8), range(9, 40)),
        (SURNAMES, HALLS),
    ),
}
"""One template for each category, so that a category is all that its texts have in common."""
