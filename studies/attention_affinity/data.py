"""Short neutral texts, and the single tokens of them at which a residual stream is read.

They stand for ordinary text where a null asks how residuals spread. The first token is left out:
it sees only itself, many heads park their attention there, and its norm is out of all proportion
(Xiao et al. 2023, "attention sinks").
"""

import numpy as np
from transformers import PreTrainedTokenizerFast

from interp.positions import Sample

PER_TEXT = 16
"""Tokens read in each text, evenly spaced."""

TEXTS = (
    "The library on the corner opens at nine and closes at six, except on Mondays, when a volunteer lets people return their books through the side door.",  # noqa: E501
    "A narrow path leads from the station to the lake, past two old barns and a field where somebody keeps three brown horses.",  # noqa: E501
    "Steel expands when it gets warm, so engineers leave small gaps between the rails and cover them with plates that can slide.",  # noqa: E501
    "My neighbour bought a used washing machine last spring, and it has worked without trouble ever since, although it hums a little.",  # noqa: E501
    "In the second half of the match both teams grew tired, the passes became shorter, and nobody was surprised by the result.",  # noqa: E501
    "To make the soup, chop an onion, fry it slowly in butter, add water and potatoes, and wait until everything is soft.",  # noqa: E501
    "The council voted on Tuesday to repair the bridge, which has carried buses, bicycles and delivery vans for more than sixty years.",  # noqa: E501
    "Most birds in this valley leave before the first frost, but a few small finches stay and eat seeds under the hedges.",  # noqa: E501
    "He wrote the address on the back of an envelope, folded it twice, and put it into the pocket of his grey coat.",  # noqa: E501
    "A computer stores every picture as a long list of numbers, and a program turns that list into colours on the screen.",  # noqa: E501
    "The museum has four floors, of which the lowest shows tools, coins and pottery that farmers found while they were ploughing.",  # noqa: E501
    "When the train stopped in the middle of the forest, some passengers read on while others walked along the corridor and talked.",  # noqa: E501
    "Paint the wall from top to bottom, keep the brush wet, and do not go back over a place that has begun to dry.",  # noqa: E501
    "Our teacher explained that the moon has no light of its own and that we only see the part the sun shines on.",  # noqa: E501
    "The company sells screws, hinges and locks to carpenters in the region, and its catalogue has hardly changed in twenty years.",  # noqa: E501
    "On the left bank of the river stands a mill whose wheel still turns, although the flour is now made somewhere else.",  # noqa: E501
    "She learned to play the violin at school, forgot most of it as a student, and began again when she retired.",  # noqa: E501
    "A good map shows not only roads and rivers but also the height of the land, which matters to anyone on foot.",  # noqa: E501
    "The recipe asks for two cups of rice, one of lentils, a spoon of salt and as much pepper as you like.",  # noqa: E501
    "Heavy rain is expected in the north tomorrow, while the south will stay dry with light winds and a few clouds.",  # noqa: E501
    "The report lists every expense of the past year in a table, with the largest sums at the top and notes beside them.",  # noqa: E501
    "Old clocks lose a minute or two each week, which is why the porter used to set this one by the radio.",  # noqa: E501
    "They moved the piano into the hall because the floor of the upper room was not strong enough to carry it.",  # noqa: E501
    "Bread rises because yeast makes gas inside the dough, and the gas cannot escape through the stretchy walls around it.",  # noqa: E501
    "The ferry takes forty minutes to the island, runs every hour in summer, and carries about thirty cars at a time.",  # noqa: E501
    "Anyone who wants to borrow a tent should write to the office by Friday and say how many people will sleep in it.",  # noqa: E501
    "Glass is made from sand, soda and lime, melted in a furnace and cooled slowly so that it does not crack.",  # noqa: E501
    "The street was quiet that evening; a dog barked twice, a window was closed, and then there were only distant cars.",  # noqa: E501
    "In chess the queen moves like a rook and a bishop together, which makes her the strongest piece on the board.",  # noqa: E501
    "The tailor measured the sleeves again, nodded, and wrote a number into the small book that lay beside the scissors.",  # noqa: E501
    "Many lakes in this country were formed when the ice melted and left hollows behind, which slowly filled with rain.",  # noqa: E501
    "The new printer is faster than the old one, but it refuses to work when the paper tray is less than half full.",  # noqa: E501
    "Before you plant the bulbs, loosen the soil, remove the stones, and dig each hole three times as deep as the bulb.",  # noqa: E501
    "The committee meets on the first Thursday of the month in the room above the bakery and keeps short minutes.",  # noqa: E501
    "A bicycle stays upright because its front wheel steers into a fall, which brings the wheels back under the rider.",  # noqa: E501
    "The novel is set in a harbour town where ships arrive with timber and leave with barrels of salted fish.",  # noqa: E501
    "His grandfather kept bees behind the orchard and sold the honey in jars with a plain white label and a number.",  # noqa: E501
    "The lift was out of order, so the visitors climbed five flights of stairs and rested on a bench at the top.",  # noqa: E501
    "Sound travels faster in water than in air, and faster still in iron, because the particles push each other more quickly.",  # noqa: E501
    "The invoice was paid in full on the twelfth, as the bank confirmed in a letter that arrived two days later.",  # noqa: E501
    "From the tower one can see the whole town, the railway yard, the two churches and the hills behind them.",  # noqa: E501
    "Most of the students take the bus, some come by bicycle, and a few who live nearby walk along the canal.",  # noqa: E501
    "The shop repairs shoes and bags, cuts keys while you wait, and sharpens knives on Wednesdays and Saturdays.",  # noqa: E501
    "After the harvest the straw is pressed into bales and stacked in the barn, where it stays dry until winter.",  # noqa: E501
    "The lecture lasted an hour and a half, with a short break in which coffee and biscuits were served in the hall.",  # noqa: E501
    "A lens bends the light that passes through it, so a curved piece of glass can make small letters look large.",  # noqa: E501
    "The tenants agreed to share the garden, to cut the grass in turn, and to plant nothing taller than the fence.",  # noqa: E501
    "Two roads lead over the pass: the old one with many bends and a view, and the new one through a tunnel.",  # noqa: E501
)  # fmt: skip
"""Written for this purpose; nothing in them is about people's roles, feelings or dates."""


def samples(tokenizer: PreTrainedTokenizerFast) -> list[Sample]:
    """Each text with `PER_TEXT` of its tokens as named spans t0, t1, ...; never the first.

    Raises ValueError for a tokenizer that splits a text into too few tokens.
    """
    encoded = tokenizer(list(TEXTS), return_offsets_mapping=True)
    found = []
    for text, offsets in zip(TEXTS, encoded["offset_mapping"], strict=True):
        tokens = [(start, stop) for start, stop in offsets if text[start:stop].strip()][1:]
        if len(tokens) < PER_TEXT:
            raise ValueError(
                f"the tokenizer gives {len(tokens) + 1} tokens, fewer than {PER_TEXT + 1}, "
                f"for {text[:40]!r}"
            )
        chosen = np.linspace(0, len(tokens) - 1, PER_TEXT).round().astype(int)
        found.append(Sample(text, {f"t{n}": tokens[at] for n, at in enumerate(chosen)}))
    return found
