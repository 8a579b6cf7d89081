"""The attention-affinity study: planted changes are found and named, noise is not, whole runs."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from browser import needs_browser, visit
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_torch
from scipy.stats import false_discovery_control
from test_affinity_survey import BLOCKS, HEADS, D, N, checkpoint
from test_directions import named_directions, readout_export
from tiny_models import tiny_tokenizer

from interp.affinity import Deviations, fold, qk, qk_self
from interp.claims import Claim, judged
from interp.directions import Directions, load_directions, save_directions
from interp.model import checkpoint_directory, resid_pre
from interp.run import Run, parse
from interp.store import Store
from interp.study import Needs, Subject
from interp.weights import AttentionWeights
from studies.attention_affinity import change, distance_and_effect, heads
from studies.attention_affinity.__main__ import STUDY, Config
from studies.attention_affinity.checkpoints import PER_TEXT, TEXTS, checkpoints, samples
from studies.attention_affinity.comparison import compared

PLANTED = (1, 2)
"""Block and head into which a change is planted."""
DISTANCES = (0, -3)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("affinity")


@pytest.fixture(scope="module")
def base(root) -> Path:
    return checkpoint("llama", root / "base")


@pytest.fixture(scope="module")
def vectors(root) -> Path:
    save_directions(root / "vectors.safetensors", named_directions())
    return root / "vectors.safetensors"


@pytest.fixture(scope="module")
def tuned(base, root) -> Path:
    """The base with a piece u v^T in one head: "a" now attends to "b"."""
    target = root / "tuned"
    shutil.copytree(base, target)
    tensors = load_file(target / "model.safetensors")
    block, head = PLANTED
    u, v = torch.from_numpy(named_directions().vectors[:2]).float()
    gain = tensors[f"model.layers.{block}.input_layernorm.weight"]
    w = torch.nn.functional.normalize(torch.ones(D // HEADS), dim=0)
    for name, direction, place_ in (("q", u, head), ("k", v, head // 2)):
        weight = tensors[f"model.layers.{block}.self_attn.{name}_proj.weight"]
        rows = slice(place_ * D // HEADS, (place_ + 1) * D // HEADS)
        weight[rows] += 2 * torch.outer(w, direction / gain)
    save_torch(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def _asked(
    base: Path,
    other: Path | None = None,
    *,
    directions: Directions | None = None,
    residuals: Store | None = None,
    **options: Any,
) -> Subject:
    """One model, or two, compared: the subject that the study's questions are asked of."""
    root = base.parent / "asked"
    root.mkdir(exist_ok=True)
    save_directions(root / "asked.safetensors", directions or named_directions())
    chosen: dict[str, Any] = {"distances": DISTANCES, "averaged": (1,), "seed": 3} | options
    config = Config(
        base=str(base),
        instruct=None if other is None else str(other),
        vectors=root / "asked.safetensors",
        average=False,
        runs=root,
        **chosen,
    )
    material = dataclasses.replace(checkpoints(config), residuals=residuals)
    with Run("attention_affinity", config, root=root) as run:
        subject = Subject(config.subjects[0], 1, config, material, run)
        subject.ask(compared)
    return subject


def _claims(subject: Subject) -> list[Claim]:
    questions = (
        heads.matching,
        distance_and_effect.distance,
        change.changed,
        distance_and_effect.effect,
    )
    return [claim for question in questions for claim in subject.ask(question).claims]


def _run(config: Config) -> Path:
    return STUDY.run(config).report


def _claim(subject: Subject, start: str) -> Claim:
    (claim,) = (c for c in _claims(subject) if c.statement.startswith(start))
    return judged([claim])[0]


# --- what tuning changed -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(base, tuned) -> Subject:
    return _asked(base, tuned)


def test_a_planted_route_is_found_and_its_head_named(planted):
    claim = _claim(planted, "Tuning changed how some head")
    assert claim.verdict == "supported"
    assert "head 1.2, a → b" in claim.unit
    (best,) = planted.ask(compared).scores.main.qk.strongest()
    assert (best.block, best.head, best.query, best.key) == (*PLANTED, "a", "b")
    assert best.z > 5


def test_nothing_is_seen_where_nothing_was_planted(planted):
    comparison = planted.ask(compared)
    for kind in ("QK", "VO"):
        cells = comparison.scores.main.of(kind).scores
        elsewhere = [at for at in range(BLOCKS) if at != PLANTED[0]]
        assert (cells.z[elsewhere] == 0).all() and (cells.p[elsewhere] == 1).all()
    # values were left alone, so what is written is the same even in the planted head
    assert (comparison.scores.main.vo.scores.raw == 0).all()
    ratio = comparison.surveys["instruct"].qk.scores.sd / comparison.scores.base.qk.scores.sd
    assert (ratio[0] == 1).all() and (ratio[PLANTED][..., 0] > 1).all()


def test_a_model_against_itself_has_no_change_and_no_nan(base):
    subject = _asked(base, base)
    cells = subject.ask(compared).scores.main.qk.scores
    assert (cells.z == 0).all() and (cells.p == 1).all() and (cells.raw == 0).all()
    made = _claims(subject)
    about = [c for c in made if c.question in (change.CHANGED, distance_and_effect.WHERE)]
    assert {c.verdict for c in judged(about)} == {"undecided", "described"}
    assert all(c.estimate is not None and np.isfinite(c.estimate) for c in made)
    other = subject.texts.other
    assert other is not None and other.label == "base (tuned)"


@pytest.mark.parametrize("seed", [2, 3])
def test_noise_on_all_weights_is_no_rerouting_even_of_directions_with_long_queries(base, seed):
    """Directions that the queries of a head amplify most: any change of the weights moves them."""
    forms = fold(AttentionWeights.from_checkpoint(base, 1))
    _, _, strong = np.linalg.svd(forms.A.double().numpy().reshape(-1, D))
    chosen = Directions(tuple("abcd"), strong[:N], None, None, "strongest query directions")
    subject = _asked(base, perturb=0.01, directions=chosen, distances=(0,), seed=seed)
    assert _claim(subject, "Random noise changed how some").verdict == "undecided"
    assert _claim(subject, "Random noise changed these").verdict == "undecided"
    # the same rate held against unrelated directions alone would be taken for a finding
    comparison = subject.ask(compared)
    rates = comparison.scores.main.qk.rate_by_set(0.05)
    assert rates[0] > 1.5 * rates[1:].mean()
    assert comparison.scores.turned is not None
    assert abs(comparison.scores.turned.rates()[0] - 0.05) < 0.03


def test_one_model_leaves_questions_about_tuning_open(base):
    made = _claims(_asked(base))
    opened = judged([c for c in made if c.question == change.CHANGED])
    assert [c.verdict for c in opened] == ["not testable here"] * 2 + ["described"]
    assert all("--instruct" in c.reason for c in opened)


# --- nulls and counts ----------------------------------------------------------------------------


def test_unrelated_directions_hold_the_rate_and_match_nothing(base):
    rows = np.random.default_rng(8).standard_normal((N, D))
    noise = Directions(tuple("abcd"), rows, None, None, "noise")
    subject = _asked(base, directions=noise)
    assert 4 < (_claim(subject, "How often unrelated directions").estimate or 0) < 6
    for start in ("Some heads match a direction", "Some heads match one"):
        assert _claim(subject, start).verdict == "undecided"


class _Planted:
    """Residuals that vary along what the queries of a block amplify most, ten times as much in
    the first of 8 directions as in the rest of the space."""

    positions = tuple(f"t{n}" for n in range(PER_TEXT))
    plan = SimpleNamespace(n_samples=len(TEXTS))
    source: dict[str, str] = {}

    def __init__(self, base: Path):
        self.base = base

    def read(self, hook: str) -> np.ndarray:
        block = int(hook.split(".")[1])
        forms = fold(AttentionWeights.from_checkpoint(self.base, block))
        both = torch.cat([forms.A.flatten(0, 1), forms.B.flatten(0, 1)]).double()
        _, _, basis = np.linalg.svd(both.numpy())
        drawn = np.random.default_rng(block).standard_normal((len(TEXTS), PER_TEXT, D))
        scales = np.concatenate([np.full(8, 10.0), np.ones(D - 8)])
        return (3 + (drawn * scales) @ basis).astype(np.float32)


def test_residuals_need_their_covariance(base):
    """Held-out residuals keep the covariance null's rate and break the isotropic one's."""
    store = cast(Store, _Planted(base))
    deviations = Deviations.of(store.read(resid_pre(1)).astype(np.float64))
    assert np.abs(deviations.fitted.mean(axis=0)).max() < 1e-12
    assert len(deviations.fitted) == 2 * PER_TEXT * len(TEXTS) // 2
    assert len(deviations.held_out) == len(TEXTS) // 2
    scores = _asked(base, residuals=store).ask(compared).scores
    assert scores.isotropic is not None
    # 276 pairs of texts; lengths of residuals vary, which a Gaussian's do otherwise
    assert 0.035 < scores.base.qk.unrelated.rate < 0.065
    assert scores.isotropic.unrelated.rate > 0.15


# --- directions ----------------------------------------------------------------------------------


def _broken(path: Path, kind: str) -> str:
    """Write a file that is not one of directions; what the error says."""
    rows = np.random.default_rng(0).standard_normal((2, D)).astype(np.float32)
    names = {"directions": json.dumps({"names": ["a", "b"]})}
    if kind == "no metadata":
        save_file({"vectors": rows}, path)
        return "matrix without names"
    if kind == "zero":
        save_file({"vectors": rows * [[1], [0]]}, path, names)
        return "direction 'b' is zero"
    if kind == "nan":
        rows[1, 3] = np.nan
        save_file({"vectors": rows}, path, names)
        return "direction 'b' holds a value that is not finite"
    if kind == "duplicates":
        save_file({"vectors": rows}, path, {"directions": json.dumps({"names": ["a", "a"]})})
        return "duplicate names: 'a'"
    if kind == "count":
        save_file({"vectors": rows[:1]}, path, names)
        return "2 names for 1 rows"
    if kind == "width":
        save_file({"vectors": rows[:, :20]}, path, names)
        return "directions of width 20; the residual stream of base has 32"
    if kind == "no file":
        return "no file of directions at"
    path.write_bytes(b"nothing of the kind")
    return "is no safetensors file"


@pytest.mark.parametrize(
    "kind",
    ["no metadata", "zero", "nan", "duplicates", "count", "width", "no file", "other"],
)
def test_bad_directions_are_refused_before_anything_is_scored(kind, base, tmp_path):
    message = _broken(tmp_path / "v.safetensors", kind)
    with pytest.raises(ValueError, match=message):
        _run(Config(base=str(base), vectors=tmp_path / "v.safetensors", runs=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


# --- checkpoints ---------------------------------------------------------------------------------


def test_a_directory_is_a_checkpoint_as_it_is(base, tmp_path):
    assert checkpoint_directory(base) == base and checkpoint_directory(str(base)) == base
    with pytest.raises(ValueError, match=r"holds no checkpoint.*found nothing"):
        checkpoint_directory(tmp_path)
    with pytest.raises(ValueError, match="no GGUF file at"):
        checkpoint_directory(tmp_path / "model.gguf")
    with pytest.raises(ValueError, match="unknown model"):
        checkpoint_directory(tmp_path / "nowhere")


def _damaged(base: Path, path: Path, kind: str) -> str:
    shutil.copytree(base, path)
    file = path / "model.safetensors"
    tensors, settings = load_file(file), json.loads((path / "config.json").read_text())
    first = "model.layers.0.self_attn.q_proj"
    marks = {"quantised": ("qweight", "AWQ or GPTQ"), "experts": ("experts.0.w", "MoE"), "mla": ("kv_a_proj.weight", "MLA")}  # fmt: skip # noqa: E501
    if kind == "architecture":
        (path / "config.json").write_text(json.dumps(settings | {"architectures": ["MambaForCausalLM"]}))  # fmt: skip # noqa: E501
        return "unknown architecture 'MambaForCausalLM'"
    if kind in marks:
        suffix, message = marks[kind]
        save_torch(tensors | {f"{first}.{suffix}": torch.ones(2)}, file, metadata={"format": "pt"})
        return message
    # under another name: an index beside a whole model.safetensors is not read
    file = file.rename(file.with_name("model-00001.safetensors"))
    index = {name: file.name for name in tensors}
    if kind == "shard":
        index[f"{first}.weight"] = "model-00002.safetensors"
    else:
        del tensors[f"{first}.weight"]
        save_torch(tensors, file, metadata={"format": "pt"})
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return "model-00002.safetensors is missing" if kind == "shard" else "which does not hold it"


@pytest.mark.parametrize("kind", ["architecture", "quantised", "experts", "mla", "shard", "index"])
@pytest.mark.parametrize("side", ["base", "instruct"])
def test_what_cannot_be_read_is_refused_before_a_run_starts(kind, side, base, vectors, tmp_path):
    message = _damaged(base, tmp_path / "broken", kind)
    chosen: dict[str, Any] = {"base": str(base), "instruct": str(base)} | {
        side: str(tmp_path / "broken")
    }
    with pytest.raises(ValueError, match=message):
        _run(Config(**chosen, vectors=vectors, runs=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_options_that_make_no_sense_are_refused(base, vectors, tmp_path):
    wider = checkpoint("llama", tmp_path / "deeper", num_hidden_layers=4)
    common: dict[str, Any] = {"base": str(base), "vectors": vectors, "runs": tmp_path / "r"}
    for options, message in (
        (dict(instruct="x", perturb=0.01), "give instruct='x' or perturb=0.01, not both"),
        (dict(perturb=-0.1), "perturb = -0.1"),
        (dict(distances=(0, 4)), r"distances = \(0, 4\)"),
        (dict(distances=()), r"distances = \(\)"),
        (dict(components=0), "components = 0; it must be at least 1"),
        (dict(blocks=(1, 3)), "base has no block 3; choose from 0 to 1"),
        (dict(averaged=(1,), blocks=(0,)), "block 1 is to be averaged but not read"),
        (dict(head="1.4"), "there is no head 1.4"),
        (dict(head="first"), "head = 'first'; write it as BLOCK.HEAD"),
        (dict(source_block=9), "base has no block 9"),
        (dict(instruct=str(wider)), "differ in blocks: base has 2, deeper has 4"),
        (dict(null="isotropic", residuals=tmp_path), "null = isotropic makes no use of residuals"),
    ):
        with pytest.raises(ValueError, match=message):
            _run(Config(**cast(dict[str, Any], common | options)))
    assert not (tmp_path / "r").exists()


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def common(base, root) -> dict[str, Any]:
    options: dict[str, Any] = {
        "base": str(base),
        "components": N,
        "distances": DISTANCES,
        "average": False,
    }
    return options | {"device": "cpu"} | {"runs": root / "runs", "store": root / "stores"}


@pytest.fixture(scope="module")
def alone(common) -> Path:
    return _run(Config(**common | {"average": True}))


@pytest.fixture(scope="module")
def pair(common, tuned, vectors) -> Path:
    return _run(Config(**common, instruct=str(tuned), vectors=vectors, peer_compat=True))


def _verdicts(report: Path) -> dict[str, str]:
    claims = Run.open(report.parent).results()["claims"]
    return {claim["statement"]: claim["verdict"] for claim in claims}


def test_one_model_is_asked_of_its_own_components(alone):
    run = Run.open(alone.parent)
    written = load_directions(run.path / "directions.safetensors")
    assert written.names == ("PC1", "PC2", "PC3", "PC4") and written.block == 1
    assert run.results()["directions-1"] == list(written.names)
    table = run.table("affinity-1")
    assert set(table.kind) == {"QK", "VO"} and set(table.pair) == {"self", "cross"}
    steps = len(DISTANCES) + 1
    assert len(table) == BLOCKS * (HEADS * N * N * (steps + 1) + N * N)
    assert not any(column.startswith("difference") for column in table)
    assert run.manifest["recorded"]["instruct"] is None
    size = run.manifest["recorded"]["base"]["bytes of attention and norm tensors"]
    assert run.manifest["recorded"]["bytes read"] == size
    claims = [c for c in run.results()["claims"] if not c["needs"]]
    assert all(c["reason"] for c in claims)
    assert all(c["exchange"] for c in claims if c["kind"] == "finding")
    # blocks of one network are no sample: nothing drawn from them is an interval
    assert all(c["interval"] is None for c in claims)


def test_the_table_holds_what_the_affinities_give(pair, base):
    table = Run.open(pair.parent).table("affinity-1")
    forms = fold(AttentionWeights.from_checkpoint(base, 0))
    X = torch.from_numpy(load_directions(pair.parent / "directions.safetensors").vectors)
    cross = qk(forms, X, X, distance=-3, seed=42)
    own = qk_self(forms, X, distance=-3, seed=42)
    rows = table[(table.kind == "QK") & (table.block == 0) & (table.distance == -3)]
    rows = rows.set_index(["head", "query", "key"])
    for head in range(HEADS):
        row = rows.loc[(head, "b", "d")]
        assert row.base_raw == pytest.approx(float(cross.raw[head, 1, 3]))
        assert row.base_z == pytest.approx(float(cross.z[head, 1, 3]))
        assert row.base_null_sd == pytest.approx(float(cross.null.sd[head]))
        assert row.kv_head == head // 2 and row.base_p <= row.base_q <= 1
        row = rows.loc[(head, "c", "c")]
        assert row.pair == "self" and row.base_z == pytest.approx(float(own.z[head, 2]))
        assert row.base_null_mean == pytest.approx(float(own.null.mean[head]))
        assert row.difference_raw == pytest.approx(row.instruct_raw - row.base_raw, abs=1e-9)
    together = table[(table.kind == "VO") & table["head"].isna()]
    assert len(together) == BLOCKS * N * N and together.distance.isna().all()
    assert together.base_z.notna().all() and together.base_q.isna().all()


def test_q_values_are_of_self_and_cross_pairs_apart(alone):
    table = Run.open(alone.parent).table("affinity-1")
    for kind in ("QK", "VO"):
        for of in ("self", "cross"):
            rows = table[(table.kind == kind) & (table.pair == of) & table.base_p.notna()]
            assert np.allclose(rows.base_q, false_discovery_control(rows.base_p))


def test_a_pair_with_a_planted_route_names_it_in_the_report(pair):
    claims = Run.open(pair.parent).results()["claims"]
    (claim,) = (c for c in claims if c["statement"].startswith("Tuning changed how some head"))
    # by itself: in heads of width 8 random turns come close too often for a correction by four
    assert claim["p"] <= 0.05
    assert "Head 1.2" in pair.read_text(encoding="utf-8")
    # directions from a file and no residuals: nothing was run, and the null says what it is
    recorded = Run.open(pair.parent).manifest["recorded"]
    assert recorded["residuals"] is None and "isotropic" in pair.read_text(encoding="utf-8")
    peer = pd.read_parquet(pair.parent / "peer-1.parquet")
    assert len(peer) and "As an earlier notebook computed it" in pair.read_text(encoding="utf-8")


def test_a_perturbed_copy_is_a_control_and_says_so_everywhere(common):
    report = _run(Config(**common, perturb=0.01))
    run = Run.open(report.parent)
    claims = run.results()["claims"]
    assert all("with 1 % noise" in c["subject"] for c in claims)
    changed = [c for c in claims if c["question"] == change.CHANGED]
    assert len(changed) == 3 and all("andom noise" in c["statement"] for c in changed)
    assert {c["verdict"] for c in changed[:2]} == {"undecided"}
    assert run.manifest["recorded"]["instruct"]["noise"] == 0.01
    page = report.read_text(encoding="utf-8")
    assert "<h1>Control: which directions" in page and "Nothing is routed anew" in page


def test_a_readout_export_can_be_asked_about(common, tmp_path):
    folder = readout_export(tmp_path / "export")
    options: dict[str, Any] = {"vectors": folder, "source_block": 0, "blocks": (0,)}
    report = _run(Config(**common, **options, null="covariance", head="0.1"))
    run = Run.open(report.parent)
    table = run.table("affinity-1")
    assert set(table.block) == {0} and set(table["query"]) == {"calm", "joy", "fear"}
    assert set(table.distance.dropna()) == set(DISTANCES)
    assert run.manifest["recorded"]["residuals"] is not None
    where = next(c for c in run.results()["claims"] if c["question"] == distance_and_effect.WHERE)
    assert "shares of variance" in where["reason"]  # an export has none
    assert "Head 0.1" in report.read_text(encoding="utf-8")


def test_a_distance_is_not_compared_with_itself(common, vectors):
    options: dict[str, Any] = common | {"distances": (-16, -64), "vectors": vectors}
    outcome = STUDY.run(Config(**options))
    (claim,) = (c for c in outcome.claims if c.question == distance_and_effect.DISTANCE)
    assert "distances -16 and -64" in claim.unit
    assert claim.estimate is not None and claim.estimate < 1 - 1e-6


def test_a_single_direction_and_a_single_distance_leave_no_gaps(common, vectors):
    options: dict[str, Any] = common | {"components": 1, "distances": (0,), "vectors": vectors}
    report = _run(Config(**options))
    table = Run.open(report.parent).table("affinity-1")
    assert set(table.pair) == {"self"} and len(table) == BLOCKS * (2 * HEADS + 1)
    verdicts = _verdicts(report)
    claims = Run.open(report.parent).results()["claims"]
    (alike,) = (c for c in claims if c["question"] == distance_and_effect.DISTANCE)
    assert alike["estimate"] is None and "two distances" in alike["reason"]
    assert not any("one of the directions" in statement for statement in verdicts)


@pytest.mark.usefixtures("alone")
def test_a_store_that_lacks_a_block_is_refused(common, root):
    (store,) = (path for path in (root / "stores").iterdir() if path.is_dir())
    report = _run(Config(**common, residuals=store, blocks=(0,)))
    assert Run.open(report.parent).manifest["recorded"]["residuals"]
    common = common | {"runs": root / "refused"}
    with pytest.raises(ValueError, match="there is no manifest.json"):
        _run(Config(**common, residuals=root))
    wide = checkpoint("llama", root / "wide", hidden_size=48)
    with pytest.raises(ValueError, match=r"holds \[32\] under blocks.0.hook_resid_pre, not \[48\]"):
        _run(Config(**common | {"base": str(wide)}, residuals=store))
    deep = checkpoint("llama", root / "deep", num_hidden_layers=4)
    with pytest.raises(ValueError, match="holds no 'blocks.2.hook_resid_pre'"):
        _run(Config(**common | {"base": str(deep)}, residuals=store))
    assert not (root / "refused").exists()


def test_a_plan_foresees_the_store_and_what_is_read(common, alone, vectors, root):
    foreseen = STUDY.act(Config(**common, plan=True))
    assert isinstance(foreseen, Needs)
    (store,) = (path for path in (root / "stores").iterdir() if path.is_dir())
    plan = Store.open(store).plan
    row = foreseen.models.loc["base"]
    assert row["stored"] * 1e9 == pytest.approx(plan.bytes_per_sample() * plan.n_samples)
    by_weights = STUDY.plan(Config(**common, vectors=vectors, plan=True)).models.loc["base"]
    assert by_weights["stored"] == 0 and 0 < by_weights["read"] < row["read"]


@needs_browser
def test_the_report_opens_without_a_network(pair):
    seen = visit(pair)
    assert seen.errors == [] and seen.requests == []
    # maps; heatmaps of 3 sides; distance; effects; patterns, 2 x 2 x 3; quantiles; growth
    assert seen.plots == 2 + 6 + 2 + 2 + 12 + 2 + 1
    assert "Tuning changed how some head matches these directions" in seen.text


def test_tokens_are_single_and_never_the_first():
    for family in ("llama", "qwen3"):
        tokenizer = tiny_tokenizer(family)
        for sample in samples(tokenizer):
            assert len(sample.spans) == PER_TEXT
            offsets = tokenizer(sample.text, return_offsets_mapping=True)["offset_mapping"]
            visible = [tuple(o) for o in offsets if sample.text[o[0] : o[1]].strip()]
            assert set(sample.spans.values()) <= set(visible[1:])


def test_the_command_line_explains_every_field(capsys):
    with pytest.raises(SystemExit):
        parse(Config, ["--help"], prog="affinity", description="")
    shown = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in shown
    read = parse(Config, ["--distances", "0", "-1", "--no-average"], prog="", description="")
    assert read.distances == (0, -1) and not read.average
