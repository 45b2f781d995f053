"""The names of the files in a run folder."""

from __future__ import annotations

from makemore_cli.config.schema import CONFIG as CONFIG

METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"  # the last one
BEST = "best.safetensors"  # of lowest validation loss
SUMMARY = "summary.json"
NAMES = "training-names.txt"  # names that were given as values, not as a file
FILES = (CONFIG, METRICS, CHECKPOINT, BEST, SUMMARY, NAMES)
PLOTS, REPORT, PLAY, EVENTS = "plots", "report.html", "play.html", "tensorboard"  # made on request
