"""Does a model hold the days of the week as a circle, and does it recall the one it read?"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from interp import claims, smds, stats, study
from interp.extract import extract
from interp.positions import Sample, find
from interp.texts import Texts

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES = ("Ada", "Ben", "Cora", "Dan", "Eve", "Finn", "Grace", "Hugo")
PASTIMES = ("sings in a choir", "plays chess", "cooks for friends", "swims in the lake")


@dataclass(frozen=True, kw_only=True)
class Config(study.Config):
    permutations: int = 500
    """Exchanges of the days among texts that are otherwise alike."""


def texts(_: Config) -> Texts:
    """Each name and pastime on each day; the last word is followed by the day once more."""
    samples = []
    for name, pastime, day in product(NAMES, PASTIMES, DAYS):
        text = f"On {day} {name} {pastime}. Next week {name} {pastime} again on"
        spans = {"weekday": find(text, day), "answer": find(text, "on", occurrence=-1)}
        samples.append(Sample(text, spans))
    days = np.tile(np.arange(7), len(samples) // 7)
    return Texts(samples=samples, labels=days, period=7, categories=DAYS, edges=np.arange(8.0))


@study.asks("weekday")
def circle(subject: study.Subject, texts: Texts) -> study.Part:
    """Do the days lie on a circle where they are read?"""
    test = smds.cycle_test(subject.cells("weekday", between=(25, 75)), texts.category, names=DAYS)
    told = {"exchange": "day", "unit": "share of squared distances in its plane", "primary": True}
    finding = claims.beats(circle.__doc__, "Days that are read lie on a circle.", test, **told)
    return study.Part(claims=[finding], tables={"rivals": test.table()})


@study.asks("answer")
def recall(subject: study.Subject, texts: Texts) -> study.Part:
    """Does the model name the day that it read?"""
    ids = [subject.model.tokenizer(f" {day}")["input_ids"][-1] for day in DAYS]
    chosen = {"hooks": [], "positions": "answer", "logits": lambda x: x[:, 0, ids].log_softmax(-1)}
    logprob = extract(subject.model, texts.samples, **chosen).logits.numpy().reshape(-1, 7, 7)
    days = np.tile(np.arange(7), (1 + subject.config.permutations, len(logprob), 1))
    days[1:] = np.random.default_rng(0).permuted(days[1:], axis=-1)
    means = np.take_along_axis(logprob[None], days[..., None], axis=-1).mean(axis=(1, 2, 3))
    test = stats.permutation_test(means[:1], means[1:, None])
    told = {"rival": "days exchanged", "exchange": "day of like texts", "unit": "log-probability"}
    words = (recall.__doc__, "The day that was read is likelier than the others.")
    return study.Part(claims=[claims.survives(*words, test, cell=0, **told)])


if __name__ == "__main__":
    study.main(Config, texts, [circle, recall])
