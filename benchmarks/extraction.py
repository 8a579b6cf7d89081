"""CPU time and peak memory of reading the residual stream, against its peers in one process.

    python benchmarks/extraction.py --rounds 5 --json extraction.json

1. The same texts of 10 to 60 tokens, in the same batches sorted by length, for everybody.
2. Each case gathers one position of every text after every block, or after those up to the middle
   one, into one tensor [text, block, d_model]:
   ours    `interp.extract.extract`, from the texts: tokenization and alignment are included, and
           are a thousandth of it
   hf      HuggingFace's full forward with `output_hidden_states=True` (it cannot stop early, so
           that "up to the middle" is held against the same full forward)
   bare    forward hooks on HuggingFace's base module, which has no unembedding; stopped by an
           exception where blocks after the middle are not wanted
   cache   TransformerBridge's `run_with_cache` of everything, with its defaults; being up to five
           times as slow, it runs every fourth batch, and its time is scaled up by padded tokens
   The peers get batches made beforehand. `hf` and `bare` run a copy that no bridge has touched,
   with its default attention (sdpa), and without key-value cache, which favours them.
3. Rounds are interleaved (ours, hf, bare, cache, ours, ...), after one to warm up, which also
   checks that all read the same numbers. What counts is the median over rounds of the ratio of
   CPU times within a round: it survives a machine shared with others, as seconds do not.
4. Memory: peak resident size of a process that writes n texts to disk, and of one that writes ten
   times as many.
"""

import copy
import gc
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import transformers
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from interp.batch import Batch, padded_batch
from interp.extract import extract
from interp.model import fetch, load, resid_post
from interp.model._checkpoint import converted
from interp.positions import Sample, align
from interp.run import parse

TARGETS = {
    "smollm2-135m-instruct-q4": {"ours/hf": 0.90, "middle: ours/hf": 0.45, "ours/bare": 1.05},
    "gemma-3-270m-shaped": {"ours/hf": 0.50, "middle: ours/hf": 0.25, "ours/bare": 1.05},
}
"""What each ratio of CPU times should not exceed. A model whose unembedding is most of its
parameters (168 of 268 million in Gemma-3-270m) has more to gain from computing no logits."""

TOLERANCE = 1e-4
"""Relative difference (norm over texts and d_model, worst block) allowed between cases. The bridge
attends eagerly, with scores, softmax and values as separate products; sdpa is one fused kernel
that sums in blocks, so its float32 sums round differently (about 1e-6)."""

PAIRS = [("ours", peer) for peer in ("hf", "bare", "cache")]
PAIRS += [("middle: ours", peer) for peer in ("hf", "middle: bare")]

CACHE_EVERY = 4
"""`cache` runs one batch in so many, spread over all lengths."""

WORDS = ["the", "sun", "river", "we", "walk", "green", "old", "house", "day", "and", "time", "way"]


@dataclass(frozen=True)
class Config:
    """What to measure."""

    models: tuple[Literal["smollm2-135m-instruct-q4", "gemma-3-270m-shaped"], ...] = tuple(TARGETS)  # pyright: ignore[reportAssignmentType]
    """Real weights, random weights."""
    texts: int = 256
    """Number of texts."""
    batch_size: int = 16
    """Texts per forward pass, for everybody."""
    rounds: int = 5
    """Measured rounds, after one to warm up."""
    threads: int = 1
    """Threads of PyTorch."""
    speed: bool = True
    """Measure CPU time: half an hour per model at the defaults on one slow core."""
    memory: bool = True
    """Measure peak memory, on smollm2-135m."""
    json: Path | None = None
    """Append the results to this file, as one line."""


@dataclass(frozen=True)
class Setting:
    """One model in both forms, and the texts in both forms."""

    bridge: TransformerBridge
    hf: transformers.PreTrainedModel
    samples: Sequence[Sample]
    batches: Sequence[tuple[torch.Tensor, Batch]]
    """Numbers of the texts in a batch, and the batch."""

    def some(self) -> "Setting":
        """The same with the batches that `cache` runs."""
        return replace(self, batches=self.batches[::CACHE_EVERY])


def samples_of(n: int, n_positions: int = 1) -> list[Sample]:
    """Texts of 10 to 60 common words, a token each, with spans that end 0, 1, ... words early."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=length)) for length in rng.integers(10, 61, size=n)]
    return [
        Sample(text, {f"back {k}": (0, len(text.rsplit(" ", k)[0])) for k in range(n_positions)})
        for text in texts
    ]


def models_of(name: str) -> tuple[TransformerBridge, transformers.PreTrainedModel]:
    """The bridge, and an untouched HuggingFace module with the same weights."""
    checkpoint = converted(fetch("smollm2-135m-instruct-q4"))
    if name == "smollm2-135m-instruct-q4":
        hf = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        return load(name, device="cpu"), hf.eval()
    config = transformers.Gemma3TextConfig(
        vocab_size=262144,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        sliding_window=512,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 3,
    )
    torch.manual_seed(0)
    hf = transformers.Gemma3ForCausalLM(config).eval()
    wrapped = copy.deepcopy(hf)
    wrapped.set_attn_implementation("eager")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    return load(wrapped, tokenizer=tokenizer), hf


def setting_of(name: str, config: Config) -> Setting:
    """Models, texts, and the batches that `extract` makes of them."""
    bridge, hf = models_of(name)
    samples = samples_of(config.texts)
    by_length = np.argsort([len(s.text) for s in samples], kind="stable")
    aligned = align(bridge.tokenizer, [samples[i] for i in by_length], ["back 0"])
    n_tokens = [len(a.ids) for a in aligned]
    print(f"{name}: {len(samples)} texts of {min(n_tokens)} to {max(n_tokens)} tokens")
    pad = bridge.tokenizer.pad_token_id
    queue, batches = np.argsort(n_tokens, kind="stable"), []
    for start in range(0, len(queue), config.batch_size):
        chosen = queue[start : start + config.batch_size]
        batch = padded_batch([aligned[i] for i in chosen], ["last"], pad=pad, device="cpu")
        batches.append((torch.from_numpy(by_length[chosen]), batch))
    return Setting(bridge, hf, samples, batches)


def ours(setting: Setting, n_blocks: int) -> torch.Tensor:
    hooks = [resid_post(block) for block in range(n_blocks)]
    size = len(setting.batches[0][0])
    got = extract(setting.bridge, setting.samples, hooks=hooks, batch_size=size, progress=False)
    return torch.stack([torch.from_numpy(got.read(hook)[:, 0]) for hook in hooks], dim=1)


def _gathered(setting: Setting, n_blocks: int, run: Callable) -> torch.Tensor:
    """`run(batch, read)` gives one [batch, d_model] per block, `read` being the gathering."""
    out = torch.zeros(len(setting.samples), n_blocks, setting.hf.config.hidden_size)
    for numbers, batch in setting.batches:
        rows, index = torch.arange(len(numbers)), batch.index[:, 0, 0]
        with torch.no_grad():
            got = run(batch, lambda tensor, rows=rows, index=index: tensor[rows, index])
        out[numbers] = torch.stack(got, dim=1)
    return out


def huggingface(setting: Setting, n_blocks: int) -> torch.Tensor:
    def run(batch: Batch, read: Callable) -> list[torch.Tensor]:
        options = {"output_hidden_states": True, "use_cache": False}
        got = setting.hf(input_ids=batch.ids, attention_mask=batch.mask, **options)
        return [read(state) for state in got.hidden_states[1 : n_blocks + 1]]

    return _gathered(setting, n_blocks, run)


def bare_hooks(setting: Setting, n_blocks: int) -> torch.Tensor:
    base = setting.hf.base_model
    layers = list(base.get_submodule("layers").children())

    def run(batch: Batch, read: Callable) -> list[torch.Tensor]:
        got = []

        def hook(_: torch.nn.Module, __: tuple, output: torch.Tensor) -> None:
            got.append(read(output))
            if len(got) == n_blocks < len(layers):
                raise StopAtLayerException(output)

        with ExitStack() as stack, suppress(StopAtLayerException):
            for layer in layers[:n_blocks]:
                stack.enter_context(layer.register_forward_hook(hook))
            base(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
        return got

    return _gathered(setting, n_blocks, run)


def cache_of_everything(setting: Setting, n_blocks: int) -> torch.Tensor:
    def run(batch: Batch, read: Callable) -> list[torch.Tensor]:
        _, cache = setting.bridge.run_with_cache(batch.ids, attention_mask=batch.mask)
        return [read(cache[resid_post(block)]) for block in range(n_blocks)]

    return _gathered(setting.some(), n_blocks, run)


def cases_of(setting: Setting) -> dict[str, Callable[[], torch.Tensor]]:
    """What a round runs, in its order."""
    every = setting.bridge.cfg.n_layers
    return {
        "ours": lambda: ours(setting, every),
        "hf": lambda: huggingface(setting, every),
        "bare": lambda: bare_hooks(setting, every),
        "cache": lambda: cache_of_everything(setting, every),
        "middle: ours": lambda: ours(setting, every // 2),
        "middle: bare": lambda: bare_hooks(setting, every // 2),
    }


def check_agreement(setting: Setting, read: dict[str, torch.Tensor]) -> dict[str, float]:
    """Relative difference of every case from ours, in its worst block.

    Raises:
        ValueError: two cases read different numbers, so that their times say nothing.
    """
    differences = {}
    for name, found in read.items():
        # HuggingFace's last hidden state is the final norm's output, not the last block's
        n_blocks = found.shape[1] - (name == "hf")
        batches = (setting.some() if name == "cache" else setting).batches
        rows = torch.cat([numbers for numbers, _ in batches])
        expected = read["ours"][rows, :n_blocks]
        apart = (found[rows, :n_blocks] - expected).norm(dim=(0, 2)) / expected.norm(dim=(0, 2))
        differences[name] = float(apart.max())
        if not differences[name] <= TOLERANCE:
            raise ValueError(f"{name} differs from ours by {differences[name]:.1e} > {TOLERANCE}")
    return differences


def cpu_seconds(call: Callable[[], object]) -> float:
    gc.collect()  # what the case before left is not this one's to free
    start = time.process_time()
    call()
    return time.process_time() - start


def speed_of(name: str, config: Config) -> dict:
    """Ratios of CPU times by round for one model, printed as a table."""
    setting = setting_of(name, config)
    cases = cases_of(setting)
    differences = check_agreement(setting, {case: call() for case, call in cases.items()})
    rounds = [
        {case: cpu_seconds(call) for case, call in cases.items()}
        for _ in tqdm(range(config.rounds), desc=name, file=sys.stderr)
    ]
    whole, part = (
        sum(batch.ids.numel() for _, batch in s.batches) for s in (setting, setting.some())
    )
    for seconds in rounds:
        seconds["cache"] *= whole / part
    ratios = {f"{a}/{b}": [r[a] / r[b] for r in rounds] for a, b in PAIRS}
    medians = {case: float(np.median([r[case] for r in rounds])) for case in cases}
    for pair, values in ratios.items():
        median, target = np.median(values), TARGETS[name].get(pair)
        verdict = target and f"{'met' if median <= target else 'MISSED'}: at most {target:.2f}"
        spread = f"{min(values):.3f} to {max(values):.3f}"
        print(f"  {pair:<25} {median:.3f} ({spread})  {verdict or ''}")
    for case, value in medians.items():
        print(f"  {case:<25} {value:6.2f} s, differs from ours by {differences[case]:.1e}")
    return {"ratios": ratios, "seconds": medians, "differences": differences}


def peak_of_writing(n: int, threads: int) -> int:
    """Peak resident bytes of this process once it has written n texts to disk: the first four
    blocks of SmolLM2 at eight positions, about as much per text as all thirty blocks at one."""
    torch.set_num_threads(threads)
    samples, bridge = samples_of(n, n_positions=8), load("smollm2-135m-instruct-q4", device="cpu")
    hooks = [resid_post(block) for block in range(4)]
    with tempfile.TemporaryDirectory() as directory:
        extract(bridge, samples, hooks=hooks, out=Path(directory, "store"), progress=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def memory_of(config: Config) -> dict:
    """Peaks for n and 10 n texts, each in a process of its own."""
    # a process is born with its parent's peak, so this comes before any model is loaded here
    spawn = multiprocessing.get_context("spawn")
    peaks = {}
    for n in (config.texts, 10 * config.texts):
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            peaks[n] = pool.submit(peak_of_writing, n, config.threads).result()
        print(f"peak memory, {n} texts of 74 kB to disk: {peaks[n] / 1e6:.0f} MB")
    ratio = peaks[10 * config.texts] / peaks[config.texts]
    print(f"ratio for ten times the texts: {ratio:.3f}")
    return {"peaks": peaks, "ratio": ratio}


def main() -> None:
    config = parse(Config, prog="python benchmarks/extraction.py", description=__doc__ or "")
    torch.set_num_threads(config.threads)
    results: dict = {"config": asdict(config) | {"json": None}}
    if config.memory:
        results["memory"] = memory_of(config)
    if config.speed:
        results |= {name: speed_of(name, config) for name in config.models}
    if config.json is not None:
        with config.json.open("a") as stream:
            stream.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
