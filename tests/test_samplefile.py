"""Samples in a file are read like a list of them, and nothing but places is kept of them."""

import pickle

import numpy as np
import pytest
from tiny_models import TEXTS, tiny_bridge

from interp.extract import extract
from interp.model import resid_post
from interp.positions import Sample, fingerprint
from interp.samplefile import SampleFile

SAMPLES = [
    *(Sample(text, {"end": (len(text) - 3, len(text)), "two": ((0, 2), (4, 6))}) for text in TEXTS),
    Sample("Ünï\nline \u2028 breaks, é", {"end": (0, 3), "two": ((0, 1), (5, 7))}),
]


def test_a_file_is_the_sequence_it_was_written_from(tmp_path):
    written = SampleFile.write(tmp_path / "texts.jsonl", iter(SAMPLES))
    for found in (
        written,
        SampleFile(tmp_path / "texts.jsonl"),
        pickle.loads(pickle.dumps(written)),
    ):
        assert list(found) == SAMPLES and len(found) == len(SAMPLES)
        assert found[-1] == SAMPLES[-1] and found[np.int64(2)] == SAMPLES[2]
        assert found[1:4] == SAMPLES[1:4]
        assert fingerprint(found) == fingerprint(SAMPLES)
    with pytest.raises(IndexError):
        written[len(SAMPLES)]


def test_extraction_from_a_file_is_that_from_a_list(tmp_path):
    bridge, samples = tiny_bridge("llama"), SAMPLES[: len(TEXTS)]
    file = SampleFile.write(tmp_path / "texts.jsonl", samples)
    hooks = [resid_post(0), resid_post(2)]
    one = extract(bridge, file, hooks=hooks, out=tmp_path / "{key}", progress=False)
    other = extract(bridge, samples, hooks=hooks, out=tmp_path / "{key}", progress=False)
    assert one.path == other.path  # pyright: ignore  (stores of one plan)
    memory = extract(bridge, samples, hooks=hooks, progress=False)
    for hook in hooks:
        np.testing.assert_array_equal(one.read(hook), memory.read(hook))


def test_a_killed_writer_leaves_no_file_and_bad_lines_are_named(tmp_path):
    def half():
        yield SAMPLES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SampleFile.write(tmp_path / "texts.jsonl", half())
    assert not list(tmp_path.iterdir())
    path = tmp_path / "bad.jsonl"
    path.write_text(
        '{"text": "a b", "spans": {"x": [0, 1]}}\n{"text": "a b", "spans": {"x": [0, 9]}}\n'
    )
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 2: no sample: .*marks no character"):
        SampleFile(path)[1]
    path.write_text('{"text": "a b"}\n')
    with pytest.raises(ValueError, match="line 1: no sample: KeyError"):
        list(SampleFile(path))
    path.write_text("")
    with pytest.raises(ValueError, match="has no lines"):
        SampleFile(path)


def test_a_file_that_changed_under_its_reader_is_refused(tmp_path):
    samples = SampleFile.write(tmp_path / "texts.jsonl", SAMPLES)
    assert samples[0] == SAMPLES[0]
    with samples.path.open("a") as file:
        file.write('{"text": "one more", "spans": {}}\n')
    for look in (lambda: samples[0], lambda: list(samples), lambda: samples[1:3]):
        with pytest.raises(ValueError, match="texts.jsonl has changed since it was opened"):
            look()
    assert len(SampleFile(samples.path)) == len(SAMPLES) + 1
    # of the same size, put in its place whole
    again = SampleFile.write(tmp_path / "other.jsonl", SAMPLES[::-1])
    SampleFile.write(tmp_path / "other.jsonl", SAMPLES)
    with pytest.raises(ValueError, match="other.jsonl has changed"):
        again[0]
