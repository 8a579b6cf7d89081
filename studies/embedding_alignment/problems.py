"""The texts: bilingual mathematics problems from templates, or a user's own pairs.

Texts of one template share most of their words, so two of them are alike whatever they say. The
pairs carry a category, and who belongs to whom is asked within it: there the template is the same
everywhere, and what tells a pair from a scrambled one is the problem itself, its numbers and its
nouns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from interp.pairs import Pairs, read_pairs

FEWEST = 10
"""Generated pairs, two for each category, so that scrambling within one is possible."""

Lexicon = list[tuple[str, str]]
"""Chinese words and their English ones."""


def lexicon(chinese: str, english: str) -> Lexicon:
    """Words that stand in one order in both lists."""
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


def texts(config: Any) -> Pairs:
    """The pairs that the study's options describe."""
    if config.pairs is None:
        return generate(config.n, seed=config.seed)
    return read_pairs(config.pairs)


def generate(n: int = 200, *, seed: int) -> Pairs:
    """n mathematics problems in Chinese and English, in five categories of equal size (the first
    ones have one more where n does not divide).

    A category is one template; its problems differ in their numbers, no two having the same, and
    in two nouns, drawn anew for each problem. Numbers are written in digits, as often in one
    language as in the other. All texts of a category end alike: those of "combinations" in a
    question mark, all others in a full stop. Read at its last token, a raw embedding therefore
    tells the categories apart, and aligns the languages, by punctuation alone.

    Raises:
        ValueError: fewer than 10 problems, or more than have numbers of their own.
    """
    most = len(TEMPLATES) * min(template.problems for template in TEMPLATES.values())
    if not FEWEST <= n <= most:
        raise ValueError(f"n = {n} problems; valid are {FEWEST} to {most}")
    rng = np.random.default_rng(seed)
    chinese: list[str] = []
    english: list[str] = []
    sizes = [n // len(TEMPLATES) + (i < n % len(TEMPLATES)) for i in range(len(TEMPLATES))]
    for template, size in zip(TEMPLATES.values(), sizes, strict=True):
        for numbers in _numbers(template, size, rng):
            x, y = _nouns(template, rng)
            chinese.append(template.chinese.format(*numbers, x=x[0], y=y[0]))
            english.append(template.english.format(*numbers, x=x[1], y=y[1]))
    category = np.repeat(list(TEMPLATES), sizes)
    return Pairs(("Chinese", "English"), (tuple(chinese), tuple(english)), category)


def _numbers(
    template: Template, size: int, rng: np.random.Generator
) -> Int[np.ndarray, "size slots"]:
    chosen = rng.choice(template.problems, size=size, replace=False)
    places = np.unravel_index(chosen, [len(values) for values in template.numbers])
    columns = zip(template.numbers, places, strict=True)
    return np.stack([np.array(values)[place] for values, place in columns], axis=1)


def _nouns(template: Template, rng: np.random.Generator) -> tuple[tuple[str, str], tuple[str, str]]:
    first, second = template.nouns
    x = first[rng.integers(len(first))]
    others = [noun for noun in second if noun != x]
    return x, others[rng.integers(len(others))]
