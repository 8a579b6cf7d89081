"""Ask a transformer a question about its activations or weights, and get an answer with its null.

The problem: a high score alone says little. The search over depths and positions, copies among the
texts and the wording of a template can all produce it. Each method here reports its score beside
its null: the scores that chance gives under the same search.

    from interp import Sample, find, load, resid_post

    model = load("smollm2-135m-instruct-q4")
    text = "Ada was born on the 7th of June."
    sample = Sample(text, {"month": find(text, "June")})

A name below is imported when it is first used, so `import interp` is quick.

Load a model
  load                  interp.model       model by name, directory, GGUF file or hub id, checked
  points                interp.model       hook points that exist in a model, and what each holds
  resid_post            interp.model       name of the residual stream after a block

Mark words in texts
  Sample                interp.positions   a text and its named spans of characters
  find                  interp.positions   span of a word in a text

Read activations
  Store                 interp.store       activations on disk, opened by path or address
  by_position           interp.store       depths of a store one by one, as the grids take them

Change activations while the model runs
  steer                 interp.intervene   add vectors
  ablate                interp.intervene   remove directions
  patch                 interp.intervene   put other activations in place

Test what activations hold
  smds_grid             interp.smds        the geometry of labels at every depth and position
  probe_grid            interp.probes      linear probes at every depth and position
  concept_direction     interp.probes      the direction between two classes, with its stability
  choose_block          interp.readout     a block for concept vectors, with the choice in its null
  matched_vs_scrambled  interp.alignment   pairs of texts against scrambled pairs

Read attention from weights
  AttentionWeights      interp.weights     weights of one block, from a checkpoint or a model
  fold                  interp.affinity    these weights as bilinear forms, the norm folded in
  qk                    interp.affinity    attention logits between directions
  vo                    interp.affinity    what attending to a direction writes

Say what was found
  finding               interp.claims      a statement with its tests by the rivals they refuse
  judged                interp.claims      verdicts, corrected over all findings of a run
  Run                   interp.run         a directory with results, tables, report and manifest

Run a study
  Texts                 interp.texts       samples with labels and groups

Modules
  study        texts and questions: the one runner of all studies
  texts        the texts of a study
  model        load models; hook names; checks of what the names mean
  positions    named spans of characters to token positions
  labelled     texts with spans, labels and groups from CSV or JSONL
  pairs        texts in two languages, from a file
  pooling      tokens of such texts by kind, and their means
  transcripts  conversations of named speakers
  rendering    conversations as plain lines or through a chat template
  samplefile   texts in a file, for more of them than memory holds
  store        activations on disk or in an object store
  weights      attention weights of one block
  intervene    edits of a running model
  smds         supervised multidimensional scaling: shapes, grids, planes
  probes       linear probes, directions, erasure, transfer
  alignment    paired texts: cosines, retrieval, CKA, Procrustes
  readout      concept vectors: fit, held-out scores, quality, export
  affinity     attention between directions, from weights
  directions   named directions and their file
  stats        permutation tests, corrections, intervals, grouped folds
  claims       findings, descriptions, controls and their verdicts
  selection    the best of many cells, held to the best of all of them
  tasks        many calls over processes or Ray, with results kept
  plots        results as plotly figures and attention views
  report       sections to one HTML file
  run          command line and directory of a run

`help(interp.smds)` shows the table of contents of a module. `python -m studies` lists five studies
that use all of this.
"""

from typing import TYPE_CHECKING

from interp._lazy import attach

if TYPE_CHECKING:
    from interp import (
        affinity,
        alignment,
        claims,
        directions,
        intervene,
        labelled,
        model,
        pairs,
        plots,
        pooling,
        positions,
        probes,
        readout,
        rendering,
        report,
        run,
        samplefile,
        selection,
        smds,
        stats,
        store,
        study,
        tasks,
        texts,
        transcripts,
        weights,
    )
    from interp._version import __version__
    from interp.affinity import fold, qk, vo
    from interp.alignment import matched_vs_scrambled
    from interp.claims import finding, judged
    from interp.intervene import ablate, patch, steer
    from interp.model import load, points, resid_post
    from interp.positions import Sample, find
    from interp.probes import concept_direction, probe_grid
    from interp.readout import choose_block
    from interp.run import Run
    from interp.smds import smds_grid
    from interp.store import Store, by_position
    from interp.texts import Texts
    from interp.weights import AttentionWeights
else:
    __getattr__, __dir__ = attach(__name__)

__all__ = [
    "AttentionWeights",
    "Run",
    "Sample",
    "Store",
    "Texts",
    "__version__",
    "ablate",
    "affinity",
    "alignment",
    "by_position",
    "choose_block",
    "claims",
    "concept_direction",
    "directions",
    "find",
    "finding",
    "fold",
    "intervene",
    "judged",
    "labelled",
    "load",
    "matched_vs_scrambled",
    "model",
    "pairs",
    "patch",
    "plots",
    "points",
    "pooling",
    "positions",
    "probe_grid",
    "probes",
    "qk",
    "readout",
    "rendering",
    "report",
    "resid_post",
    "run",
    "samplefile",
    "selection",
    "smds",
    "smds_grid",
    "stats",
    "steer",
    "store",
    "study",
    "tasks",
    "texts",
    "transcripts",
    "vo",
    "weights",
]
