"""Does a direction of praise make praise likelier?"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from interp import claims, intervene, model, probes, readout, study
from interp.positions import Sample, find
from interp.texts import Texts

PRAISE = ("wonderful", "brilliant", "lovely", "superb")
BLAME = ("awful", "dull", "poor", "dreadful")
THINGS = ("film", "meal", "song", "garden", "story", "hotel")
DOSES = np.array([-4.0, -2.0, 2.0, 4.0])


@dataclass(frozen=True, kw_only=True)
class Config(study.Config):
    directions: int = 60
    """Random directions of equal length that the effect is held to."""


def texts(_: Config) -> Texts:
    """Every thing, praised and blamed in every word."""
    cases = list(product(THINGS, PRAISE + BLAME))
    said = [f"We all agreed that the {thing} was {word}." for thing, word in cases]
    samples = [Sample(t, {"word": find(t, w)}) for t, (_, w) in zip(said, cases, strict=True)]
    things = np.array([THINGS.index(thing) for thing, _ in cases])
    return Texts(samples=samples, labels=np.array([w in PRAISE for _, w in cases]), groups=things)


@study.asks("word")
def praise(subject: study.Subject, texts: Texts) -> study.Part:
    """Does a direction of praise make praise likelier?"""
    depth, X = subject.cells("word", between=(40, 60))[0]
    fitted = probes.concept_direction(X, units=np.arange(len(X)), n_splits=3, **texts.design)
    ids = subject.model.tokenizer("To be honest, it was", return_tensors="pt")["input_ids"]
    words = [subject.model.tokenizer(f" {w}")["input_ids"][-1] for w in PRAISE + BLAME]
    drawn = np.random.default_rng(0).normal(size=(subject.config.directions, X.shape[1]))
    vectors = np.vstack([fitted.direction, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)])
    effects = []
    for dose in DOSES * fitted.apply(X).std():
        added = {model.resid_post(int(depth.removeprefix("block "))): (dose * vectors)}
        with intervene.steer(subject.model, added):
            logits = subject.model(ids.expand(len(vectors), -1))[:, -1, words].detach().numpy()
        effects.append(logits[:, :4].mean(axis=1) - logits[:, 4:].mean(axis=1))
    real, random = np.split(np.stack(effects, axis=1)[:, None].astype(float), [1])
    response = readout.effects(DOSES, real[0], random)
    finding = claims.survives(
        praise.__doc__, "Adding the direction raises words of praise over words of blame.",
        response.test, cell=0, rival="random directions", exchange="direction", primary=True,
        unit=f"logits per standard deviation of the texts, added at {depth}",
        conditions={"upward": response.slope[0] > 0},
    )  # fmt: skip
    return study.Part(claims=[finding], row={"held-out accuracy": fitted.accuracy})


if __name__ == "__main__":
    study.main(Config, texts, [praise])
