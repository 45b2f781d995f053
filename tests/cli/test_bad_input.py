"""Rubbish of every kind: one line that says what, where and what to do, exit code 2, and nothing on disk is other."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.cli.main import main
from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config, DataConfig
from makemore_cli.errors import MakemoreError
from makemore_cli.names import dataset
from makemore_cli.runs.checkpoint import load_checkpoint
from tests.conftest import NAMES, Cli

EXAMPLES = 150

# --- Things to go wrong with ---


def files(folder: Path, trained: Path) -> None:
    """Fill a folder."""

    def text(name: str, content: str | bytes) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # the name of a socket must be short
        server.bind("socket")
        os.chdir(here)

    # Data.
    text("empty.txt", "")
    text("blank.txt", "\n \n\t\n\r\n" * 1000)
    text("latin1.txt", "\n".join(["ava", "mia", "zoë", *NAMES]).encode("latin-1"))
    text("utf16.txt", "\n".join(NAMES).encode("utf-16"))
    text("utf16be.txt", "\n".join(NAMES).encode("utf-16-be"))
    text("one.txt", "emma\n")
    text("dot.txt", "\n".join(["ava", "st.john", *NAMES]))
    text("nul.txt", "\n".join([*NAMES, "a\0b"]))
    text("tabs.txt", "\n".join([*NAMES, "emma\t12"]))
    text("line.txt", b"a" * 50_000_000)
    text("long.txt", "\n".join([*NAMES[:4], "", "x" * 1001, *NAMES]))
    text("same.txt", "emma\n" * 100_000)
    text("alphabet.txt", "\n".join(chr(0x4E00 + i) for i in range(10_000)))
    text("greek.txt", "ελενη\nμαρια\n" * 6)
    text("surrogate.txt", b"emma\n\xed\xa0\x80\n")
    text("names.txt", "\n".join(NAMES))
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(1 << 40)  # takes no room

    # Configurations.
    text("key.yaml", "optim: {lrr: 1}")
    text("type.yaml", "model: {hidden_size: big}")
    text("list.yaml", "- 1\n")
    text("nan.yaml", "optim: {lr: .nan}")
    text("python.yaml", "model: !!python/object/apply:os.system ['touch pwned']")
    text("tag.yaml", "model: !!python/name:os.system")
    laughs = ["a: &a [lol, lol]", *(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]" for a, b in pairwise("abcdefghi"))]
    text("laughs.yaml", "\n".join(laughs))
    text("merge.yaml", "base: &base {lr: 1}\noptim: {<<: *base}\n")
    text("deep.yaml", "[" * 100_000)
    text("twice.yaml", "train: {steps: 1, steps: 2}")
    text("binary.yaml", bytes(range(256)))
    text("digits.yaml", f"train: {{steps: {'9' * 10_000}}}")
    text("nuldata.yaml", 'data: {path: "a\\0b"}')
    text("halfdata.yaml", 'data: {path: "a\\uD800b"}')
    text("date.yaml", "train: {seed: !!timestamp foo}")
    text("large.yaml", "# " + "x" * 2_000_000)

    # Checkpoints.
    content = (trained / "checkpoint.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]

    def checkpoint(name: str, header: dict, tensors: bytes = tensors) -> None:
        text_of = json.dumps(header).encode()
        text(f"{name}.safetensors", struct.pack("<Q", len(text_of)) + text_of + tensors)

    def about(**changes: object) -> dict:
        value = json.loads(header["__metadata__"]["makemore"]) | changes
        return header | {"__metadata__": {"makemore": json.dumps({k: v for k, v in value.items() if v is not None})}}

    def changed(**changes: object) -> dict:
        config = json.loads(json.dumps(json.loads(header["__metadata__"]["makemore"])["config"]))
        for key, value in changes.items():
            section, key = key.split("__")
            config[section][key] = value
        return about(config=config)

    text("cut.safetensors", content[: len(content) // 2])
    text("long-header.safetensors", struct.pack("<Q", 2**63) + content[8:])
    text("longer-header.safetensors", struct.pack("<Q", length + 5000) + content[8:])
    text("no-bytes.safetensors", b"")
    text("model.pt", pickle.dumps({"C": [1.0, 2.0]}))
    shutil.copy(folder / "model.pt", folder / "pickle.safetensors")
    checkpoint("no-vocabulary", about(letters=None))
    checkpoint("odd-vocabulary", about(letters="abc"))
    checkpoint("control-vocabulary", about(letters="".join(map(chr, range(1, 27)))))
    checkpoint("half-vocabulary", about(letters="abcdefghijklmnopqrstuvwxy\ud800"))
    checkpoint("no-config", about(config=None))
    checkpoint("bad-config", changed(model__hidden_size="wide"))
    checkpoint("other-sizes", changed(model__hidden_size=33))
    checkpoint("gigantic", changed(model__hidden_size=2**18, model__embedding_size=2**14, model__context_length=2**12))
    checkpoint("no-metadata", {name: entry for name, entry in header.items() if name != "__metadata__"})
    checkpoint("deep-metadata", header | {"__metadata__": {"makemore": "[" * 100_000}})
    checkpoint("other-shape", header | {"C": header["C"] | {"shape": [4, 27]}})
    checkpoint("other-dtype", header | {"C": header["C"] | {"dtype": "I32"}})
    checkpoint("bfloat", header | {"C": header["C"] | {"dtype": "BF16", "shape": [27, 8]}})
    checkpoint("overlap", header | {"C": header["C"] | {"data_offsets": header["b2"]["data_offsets"]}})
    checkpoint("no-W2", {name: entry for name, entry in header.items() if name != "W2"})
    start = header["W1"]["data_offsets"][0]
    checkpoint("nan", header, tensors[:start] + struct.pack("<f", float("nan")) + tensors[start + 4 :])

    # Runs.
    shutil.copytree(trained, folder / "run")
    shutil.copytree(trained, folder / "lost-metrics")
    (folder / "lost-metrics" / "summary.json").unlink()
    (folder / "lost-metrics" / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0, "lr": 0.2}\n')
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "config.yaml").write_text("{}")
    (folder / "unfinished" / "metrics.jsonl").write_text("")
    shutil.copytree(trained, folder / "no-generator")
    (folder / "no-generator" / "summary.json").unlink()
    old = {name: entry for name, entry in safetensors.numpy.load(content).items() if "." not in name}
    (folder / "no-generator" / "checkpoint.safetensors").write_bytes(
        safetensors.numpy.save(old, metadata=header["__metadata__"])
    )
    shutil.copytree(trained, folder / "odd-generator")
    (folder / "odd-generator" / "summary.json").unlink()
    odd = safetensors.numpy.load(content) | {"training.generator": np.full(5056, 7, np.uint8)}
    (folder / "odd-generator" / "checkpoint.safetensors").write_bytes(
        safetensors.numpy.save(odd, metadata=header["__metadata__"])
    )
    (folder / "dir-checkpoint" / "checkpoint.safetensors").mkdir(parents=True)
    for name in ("linked", "piped", "lost"):
        shutil.copytree(trained, folder / name)
    (folder / "linked" / "metrics.jsonl").unlink()
    (folder / "linked" / "metrics.jsonl").symlink_to("../names.txt")
    (folder / "piped" / "metrics.jsonl").unlink()
    os.mkfifo(folder / "piped" / "metrics.jsonl")
    (folder / "lost" / "checkpoint.safetensors").unlink()
    (folder / "dangling").symlink_to("nothing")
    (folder / "mine").mkdir()
    (folder / "mine" / "config.yaml").write_text("{}")
    # A checkpoint of the very data, with other letters.
    text("data.txt", "\n".join(NAMES))
    assert main(["train", "--config", "tiny", f"--data={folder}/data.txt", f"--out={folder}/letters", "-q"]) == 0
    path = folder / "letters" / "checkpoint.safetensors"
    content = path.read_bytes()
    known = "".join(sorted(set("".join(NAMES))))
    assert content.count(known.encode()) == 1
    path.write_bytes(content.replace(known.encode(), (known[:-1] + chr(ord(known[-1]) + 1)).encode()))
    (folder / "letters" / "summary.json").unlink()


# What is wrong, the command, and how its message begins; @ is the folder.
WRONG = [
    ("a missing file", "train --data @/none.txt", "@/none.txt: no such file; give a text file with one name per line"),
    ("a folder as data", "train --data @", "@: is a folder"),
    ("an empty file", "train --data @/empty.txt", "@/empty.txt: holds no name; at least 6 are needed"),
    ("not UTF-8", "train --data @/latin1.txt", "@/latin1.txt, line 3: not UTF-8"),
    ("one name only", "train --data @/one.txt", "@/one.txt: holds only 1 name; at least 6 are needed"),
    ("the sign in a name", "train --data @/dot.txt", "@/dot.txt, line 2: a name can't contain '.'"),
    ("a missing configuration", "train --config @/no.yaml", "@/no.yaml: no such configuration"),
    ("an unknown key", "train --config @/key.yaml", "@/key.yaml: optim.lrr: unknown key; did you mean lr?"),
    (
        "a wrong type",
        "train --config @/type.yaml",
        "@/type.yaml: model.hidden_size: should be a valid integer, but is 'big'",
    ),
    (
        "a negative learning rate",
        "train --set optim.lr=-1",
        "--set optim.lr=-1: optim.lr: should be greater than or equal to 0, but is -1",
    ),
    (
        "an unknown setting",
        "train --set train.stepz=1",
        "--set train.stepz=1: train.stepz: unknown key; did you mean steps?",
    ),
    ("no value", "train --set optim.lr", "--set must be key=value, as in optim.lr=0.05, got optim.lr"),
    ("no steps", "train --steps 0", "--steps 0: should be greater than or equal to 1, but is 0"),
    ("a negative seed", "train --seed -4", "--seed -4: should be greater than or equal to 0, but is -4"),
    (
        "a batch of one",
        "train --set train.batch_size=1",
        "--set train.batch_size=1: train.batch_size: should be greater than or equal to 2",
    ),
    (
        "an unknown engine",
        "train --engine jax",
        "--engine jax: should be 'auto', 'kernel', 'tensor' or 'autograd', but is 'jax'",
    ),
    (
        "an unknown device",
        "train --device tpu",
        "--device tpu: should be auto, cpu, cuda, cuda:N or mps, but is 'tpu'",
    ),
    (
        "a run that exists",
        "train --config tiny --out @/run",
        "@/run: holds a run already; resume it, overwrite it, or choose another folder (--resume, --overwrite, --out)",
    ),
    (
        "a folder of other things",
        "train --config tiny --out @ --overwrite",
        "@: holds files that are not a run's; choose another folder (--out)",
    ),
    (
        "a file as a folder",
        "train --config tiny --out @/one.txt",
        "@/one.txt: is not a folder; choose another one (--out)",
    ),
    ("no run", "sample @/none", "@/none: no such run"),
    (
        "a folder that is no run",
        "sample @/folder",
        "@/folder: has no checkpoint.safetensors; give a run folder or a checkpoint",
    ),
    ("cut short", "sample @/cut.safetensors", "@/cut.safetensors: not a valid safetensors checkpoint"),
    ("another format", "sample @/one.txt", "@/one.txt: not a valid safetensors checkpoint"),
    ("a pickle", "sample @/model.pt", "@/model.pt: not a valid safetensors checkpoint"),
    ("eval of a pickle", "eval @/model.pt", "@/model.pt: not a valid safetensors checkpoint"),
    ("gradcheck of a pickle", "gradcheck --run @/model.pt", "@/model.pt: not a valid safetensors checkpoint"),
    ("letters unknown to the model", "eval @/run --data @/greek.txt", "@/greek.txt, line 1: the model does not know"),
    ("a prefix unknown to the model", "sample @/run --prefix aß", "'aß': the model does not know 'ß'; its characters"),
    (
        "a negative temperature",
        "sample @/run --temperature -1",
        "--temperature must be at least 0 and finite, got -1.0",
    ),
    ("top-k of nothing", "sample @/run --top-k 0", "--top-k must be at least 1, got 0"),
    ("sizes out of this world", "train --set model.hidden_size=100000000000", "--set model.hidden_size=1"),
    ("a home that is not", "train --data ~nosuchuser/x", "~nosuchuser/x: the home folder can't be found"),
    ("a name too long", f"sample {'x' * 290}", f"{'x' * 290}: can't be read: File name too long"),
    ("a name too long for a folder", f"train --out {'x' * 290}", f"{'x' * 290}: can't create the run folder"),
    (
        "a length out of this world",
        "sample @/run --max-length 1000000000",
        "--max-length must be from 1 to 10,000, got 1000000000",
    ),
    ("no length", "sample @/run --max-length 0", "--max-length must be from 1 to 10,000, got 0"),
    (
        "a seed too large",
        "sample @/run --seed 99999999999999999999",
        "--seed must be from 0 to 2^63 − 1, got 99999999999999999999",
    ),
    ("two configurations", "gradcheck --run @/run --config tiny", "--run: a run has its own configuration"),
    ("a run with settings", "gradcheck --run @/run --set optim.lr=1", "--run: a run has its own configuration"),
    # Data.
    ("only blank lines", "train --data @/blank.txt", "@/blank.txt: holds no name; at least 6 are needed"),
    ("UTF-16", "train --data @/utf16.txt", "@/utf16.txt, line 1: not UTF-8"),
    ("UTF-16 without a mark", "train --data @/utf16be.txt", "@/utf16be.txt, line 1: a name can't contain the control"),
    ("NUL", "train --data @/nul.txt", "@/nul.txt, line 13: a name can't contain the control character U+0000"),
    ("a table", "train --data @/tabs.txt", "@/tabs.txt, line 13: a name can't contain the control character U+0009"),
    ("50 MB in a line", "train --data @/line.txt", "@/line.txt, line 1: more than 1 MiB; write one name per line"),
    ("a long name", "train --data @/long.txt", "@/long.txt, line 6: a name of 1,001 characters; write one name"),
    ("one name very often", "train --data @/same.txt", "@/same.txt: holds the same name 100,000 times; give different"),
    ("10,000 letters", "train --data @/alphabet.txt", "@/alphabet.txt: has more than 8,192 different characters; give"),
    ("half a letter", "train --data @/surrogate.txt", "@/surrogate.txt, line 2: not UTF-8"),
    ("a terabyte", "train --data @/huge.txt", "@/huge.txt, line 1: more than 1 MiB; write one name per line"),
    ("a pipe as data", "train --data @/fifo", "@/fifo: is a pipe or a device; give a file"),
    ("a device as data", "train --data /dev/zero", "/dev/zero: is a pipe or a device; give a file"),
    ("a socket as data", "train --data @/socket", "@/socket: is a pipe or a device; give a file"),
    ("a link to itself as data", "train --data @/loop", "@/loop: can't be read: Too many levels of symbolic links"),
    ("data in a file", "train --data @/one.txt/x", "@/one.txt/x: can't be read: Not a directory"),
    ("gradcheck of a pipe", "gradcheck --set data.path=@/fifo", "@/fifo: is a pipe or a device"),
    ("eval of a pipe", "eval @/run --data @/fifo", "@/fifo: is a pipe or a device"),
    # Configurations.
    ("a list", "train --config @/list.yaml", "@/list.yaml: a configuration has sections"),
    ("not a number", "train --config @/nan.yaml", "@/nan.yaml: optim.lr: should be a finite number, but is nan"),
    ("a call of Python", "train --config @/python.yaml", "@/python.yaml, line 1: not valid YAML: could not determine"),
    ("a name of Python", "train --config @/tag.yaml", "@/tag.yaml, line 1: not valid YAML: could not determine"),
    ("a billion laughs", "train --config @/laughs.yaml", "@/laughs.yaml, line 2: not valid YAML: the alias *a is not"),
    ("a merge", "train --config @/merge.yaml", "@/merge.yaml, line 2: not valid YAML: the alias *base is not allowed"),
    ("nested deeply", "train --config @/deep.yaml", "@/deep.yaml: not valid YAML: nested too deeply"),
    ("a key twice", "train --config @/twice.yaml", "@/twice.yaml, line 1: not valid YAML: steps is given twice"),
    ("bytes", "train --config @/binary.yaml", "@/binary.yaml: not valid YAML"),
    ("10,000 digits", "train --config @/digits.yaml", "@/digits.yaml: not valid YAML: Exceeds the limit"),
    ("a NUL in a path", "train --config @/nuldata.yaml", "'@/a\\x00b': is not a valid file name"),
    ("half a letter in a path", "train --config @/halfdata.yaml", "@/halfdata.yaml"),
    (
        "2 MB of configuration",
        "train --config @/large.yaml",
        "@/large.yaml: has 2,000,002 bytes, but at most 1,048,576",
    ),
    ("a pipe as configuration", "train --config @/fifo", "@/fifo: is a pipe or a device; give a file"),
    ("a device as configuration", "train --config /dev/zero", "/dev/zero: is a pipe or a device; give a file"),
    ("names as configuration", "train --config @/names.txt", "@/names.txt: a configuration has sections"),
    ("an infinite rate", "train --set optim.lr=.inf", "--set optim.lr=.inf: optim.lr: should be a finite number"),
    ("an alias in a setting", "train --set train.seed=*x", "--set train.seed=*x, line 1: not valid YAML: the alias *x"),
    (
        "Python in a setting",
        "train --set train.seed=!!python/name:os.system",
        "--set train.seed=!!python/name:os.system",
    ),
    ("a setting of a setting", "train --set optim.lr.x=1", "--set optim.lr.x=1: lr is a value, not a section"),
    (
        "milestones that descend",
        "train --set optim.schedule.milestones=[3,1]",
        "--set optim.schedule.milestones=[3,1]: ",
    ),
    # Checkpoints.
    ("a header too long", "sample @/long-header.safetensors", "@/long-header.safetensors: not a valid safetensors"),
    (
        "a header that lies",
        "sample @/longer-header.safetensors",
        "@/longer-header.safetensors: not a valid safetensors",
    ),
    ("no bytes", "sample @/no-bytes.safetensors", "@/no-bytes.safetensors: not a valid safetensors checkpoint"),
    ("a pickle in disguise", "sample @/pickle.safetensors", "@/pickle.safetensors: not a valid safetensors checkpoint"),
    ("no vocabulary", "sample @/no-vocabulary.safetensors", "@/no-vocabulary.safetensors: its vocabulary is missing"),
    ("another vocabulary", "eval @/odd-vocabulary.safetensors", "@/odd-vocabulary.safetensors: tensor C is (27, 4)"),
    (
        "control characters",
        "sample @/control-vocabulary.safetensors",
        "@/control-vocabulary.safetensors: its vocabulary",
    ),
    ("half a letter to know", "sample @/half-vocabulary.safetensors", "@/half-vocabulary.safetensors: its vocabulary"),
    ("no configuration", "sample @/no-config.safetensors", "@/no-config.safetensors: its configuration: "),
    (
        "a wrong configuration",
        "sample @/bad-config.safetensors",
        "@/bad-config.safetensors: its configuration: model.hidden_size: should be a valid integer, but is 'wide'",
    ),
    (
        "other sizes",
        "sample @/other-sizes.safetensors",
        "@/other-sizes.safetensors: tensor W1 is (12, 32) F32, but its",
    ),
    ("gigantic sizes", "sample @/gigantic.safetensors", "@/gigantic.safetensors: tensor C is (27, 4) F32, but its"),
    ("no metadata", "sample @/no-metadata.safetensors", "@/no-metadata.safetensors: a safetensors file, but not a"),
    ("deep metadata", "sample @/deep-metadata.safetensors", "@/deep-metadata.safetensors: a safetensors file, but not"),
    (
        "another shape",
        "sample @/other-shape.safetensors",
        "@/other-shape.safetensors: tensor C is (4, 27) F32, but its",
    ),
    ("another type", "eval @/other-dtype.safetensors", "@/other-dtype.safetensors: tensor C is (27, 4) I32, but its"),
    ("bfloat16", "sample @/bfloat.safetensors", "@/bfloat.safetensors: tensor C is (27, 8) BF16, but its"),
    (
        "tensors that overlap",
        "sample @/overlap.safetensors",
        "@/overlap.safetensors: not a valid safetensors checkpoint",
    ),
    ("no W2", "sample @/no-W2.safetensors", "@/no-W2.safetensors: not a valid safetensors checkpoint"),
    (
        "not a number in W1",
        "sample @/nan.safetensors",
        "@/nan.safetensors: tensor W1 holds numbers that are not finite",
    ),
    ("a pipe as checkpoint", "sample @/fifo", "@/fifo: is a pipe or a device"),
    ("a device as checkpoint", "sample /dev/zero", "/dev/zero: is a pipe or a device"),
    ("a folder as checkpoint", "sample @/dir-checkpoint", "@/dir-checkpoint/checkpoint.safetensors: can't be read"),
    (
        "a run that was not finished",
        "sample @/unfinished",
        "@/unfinished: has no checkpoint.safetensors yet, since its training was "
        "stopped early; resume with: makemore train",
    ),
    # Run folders.
    ("a pipe as folder", "train --config tiny --out @/fifo", "@/fifo: is not a folder; choose another one (--out)"),
    ("a folder in a file", "train --config tiny --out @/one.txt/run", "@/one.txt/run: can't create the run folder"),
    (
        "a link to itself as folder",
        "train --config tiny --out @/loop",
        "@/loop: is not a folder; choose another one (--out)",
    ),
    (
        "an unfinished run",
        "train --config tiny --out @/unfinished",
        "@/unfinished: holds an unfinished run already; resume it, overwrite it, or choose",
    ),
    (
        "nothing to go on with",
        "train --resume @/none",
        "@/none: there is no run to resume here",
    ),
    (
        "no run to go on with",
        "train --resume @/folder",
        "@/folder: there is no run to resume here",
    ),
    (
        "going on with a file",
        "train --resume @/one.txt",
        "@/one.txt: there is no run to resume here",
    ),
    (
        "going on into the past",
        "train --resume @/run --steps 5",
        "@/run: train.steps is 5, but 2,000 steps are already trained; set it to 2,000 or more (--steps)",
    ),
    (
        "going on with another rate",
        "train --resume @/run --set optim.lr=0.3",
        "@/run: optim.lr is 0.2 in this run, and can't change to 0.3 when it is resumed; start a new run (--out)",
    ),
    ("going on with another seed", "train --resume @/run --seed 8", "@/run: train.seed is 2147483647 in this run"),
    (
        "going on with another configuration",
        "train --config lecture --resume --out @/run",
        "@/run: ",
    ),
    ("going on with other names", "train --resume @/run --data @/names.txt", "@/names.txt: is not the file that @/run"),
    (
        "going on without metrics",
        "train --resume @/lost-metrics --steps 2100",
        "@/lost-metrics/metrics.jsonl: lacks step",
    ),
    ("going on without a state", "train --resume @/no-generator", "@/no-generator: its checkpoint can be sampled from"),
    ("going on with an odd state", "train --resume @/odd-generator", "@/odd-generator: its random number generator"),
    (
        "going on anew",
        "train --config tiny --resume --overwrite --out @/run",
        "--overwrite replaces a run, but resume continues it",
    ),
    (
        "going on elsewhere",
        "train --resume @/run --out @/other",
        "--out must not be given to resume a run, which stays in its own folder",
    ),
    (
        "going on by another configuration",
        "train --resume @/run --config tiny",
        "--config must not be given to resume a run, which keeps its own",
    ),
    (
        "a folder without --resume",
        "train @/run",
        "@/run: to continue it, add --resume; to start a run there, use --out",
    ),
    ("going on with =", "train --resume=@/none", "@/none: there is no run to resume here"),
    (
        "metrics that lead elsewhere",
        "train --resume @/linked --steps 2100",
        "@/linked: can't be opened: Too many levels",
    ),
    ("metrics in a pipe", "train --resume @/piped --steps 2100", "@/piped: can't be opened: Not a file"),
    (
        "over metrics in a pipe",
        "train --config tiny --out @/piped --overwrite",
        "@/piped: can't create the run folder: Not",
    ),
    ("no checkpoint any more", "train --resume @/lost", "@/lost: has lost its checkpoint.safetensors; restore it, or"),
    ("other letters", "train --resume @/letters", "@/data.txt: is not the file that @/letters was trained on"),
    (
        "a link to nothing as folder",
        "train --config tiny --out @/dangling",
        "@/dangling: is not a folder; choose another one (--out)",
    ),
    (
        "one's own folder",
        "train --config tiny --out @/mine --overwrite",
        "@/mine: holds files that are not a run's; choose another folder (--out)",
    ),
    # Sampling and devices.
    ("not a temperature", "sample @/run --temperature nan", "--temperature must be at least 0 and finite, got nan"),
    (
        "an infinite temperature",
        "sample @/run --temperature inf",
        "--temperature must be at least 0 and finite, got inf",
    ),
    ("the sign in a prefix", "sample @/run --prefix a.b", "'a.b': the model does not know '.'"),
    ("a prefix too long", "sample @/run --prefix emma --max-length 3", "--prefix"),
    ("a device number", "train --device cuda:x", "--device cuda:x: should be auto, cpu, cuda, cuda:N or mps"),
    (
        "no threads",
        "train --set train.threads=0",
        "--set train.threads=0: train.threads: should be auto or a whole number from 1 to 1024, but is 0",
    ),
    (
        "no such source",
        "gradcheck --of magic",
        "--of must be one of atomic, fused, kernel, distributed, autograd, functions, float64, finite, complex, "
        "scalar, got magic",
    ),
]


@pytest.fixture(scope="module")
def rubbish(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    folder = tmp_path_factory.mktemp("rubbish")
    files(folder, trained)
    return folder


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """Every file below a folder: what it is, how large, and when it was changed."""
    states = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    return {name: (state.st_mode, state.st_size, state.st_mtime_ns, state.st_ino) for name, state in states.items()}


@pytest.mark.every(5)
@pytest.mark.parametrize(("command", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_mistake_is_told_in_one_line(
    command: str, message: str, rubbish: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rubbish)
    before = snapshot(rubbish)
    result = cli(*command.replace("@", str(rubbish)).split())
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("makemore: " + message.replace("@", str(rubbish)))
    assert result.err.count("\n") == 1
    assert snapshot(rubbish) == before


def test_the_table_is_long_and_says_nothing_twice() -> None:
    assert len(WRONG) >= 60
    assert len({case[0] for case in WRONG}) == len({case[1] for case in WRONG}) == len(WRONG)


def test_temperature_zero_is_no_mistake(rubbish: Path, cli: Cli) -> None:
    names = cli("sample", rubbish / "run", "--temperature", 0, "-n", 5).out.splitlines()
    assert len(set(names)) == 1
    assert len(names) == 5


# --- Whatever comes: it is taken whole, or refused in one line ---


def refusal(error: MakemoreError, start: str) -> None:
    """A message is one line that begins with what it is about, and no longer than one can read."""
    assert str(error).startswith(start)
    assert "\n" not in str(error)
    assert len(str(error)) < 1000 + len(start)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
texts = st.one_of(
    st.binary(max_size=200),
    st.lists(words, max_size=20).map(lambda lines: "\n".join(lines).encode()),
    st.lists(st.text("abcé中\u0301'- ", max_size=6), min_size=6, max_size=20).map(
        lambda lines: "\r\n".join(lines).encode()
    ),
    st.tuples(st.text("ab\n", min_size=20), st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "cp037"])).map(
        lambda pair: pair[0].encode(pair[1])
    ),
)


@given(content=texts, T=st.integers(1, 5), seed=st.integers(0, 3))
@settings(max_examples=EXAMPLES)
def test_any_file_is_names_or_is_refused(
    content: bytes, T: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content)
    try:
        data = dataset.load(DataConfig(path=str(path), split_seed=seed), T)
    except MakemoreError as error:
        refusal(error, str(path))
        return
    lines = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    names = [name for split in data.splits.values() for name in split.names()]
    assert sorted(names) == sorted(line.strip() for line in lines if line.strip())
    for name in names:
        assert data.vocabulary.decode(data.vocabulary.encode(name)) == name


@pytest.fixture(scope="module")
def content(trained: Path) -> bytes:
    return (trained / "checkpoint.safetensors").read_bytes()


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Any bytes, or a checkpoint with some of its bytes, or of its header's values, replaced."""
    kind = draw(st.sampled_from(["any", "header", "bytes", "values"]))
    length = int.from_bytes(content[:8], "little")
    if kind == "any":
        return draw(st.binary(max_size=300))
    if kind == "header":  # a header of any JSON, in front of the tensors
        text = json.dumps(draw(anything)).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]
    if kind == "bytes":
        at = draw(st.integers(0, len(content) - 1 if draw(st.booleans()) else 8 + length))
        return content[:at] + draw(st.binary(max_size=9)) + content[at + draw(st.integers(0, 9)) :]
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header["__metadata__"]["makemore"])
    place = draw(st.sampled_from([about, about["config"], about["config"]["model"], header, header["W1"], header["C"]]))
    place[draw(st.sampled_from(sorted(place)))] = draw(anything)
    if "__metadata__" in header and isinstance(header["__metadata__"], dict):
        header["__metadata__"]["makemore"] = json.dumps(about)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 50),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["auto", "sgd", "cuda:3", "kernel", "F32", "running", [0, 108], [27, 4]]),
)


def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    return inner | st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)


anything = nested(nested(scalars))


@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_any_checkpoint_is_whole_or_is_refused(
    data: st.DataObject, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(data.draw(damaged(content)))
    try:
        checkpoint = load_checkpoint(path)
    except MakemoreError as error:
        refusal(error, str(path))
        return
    sizes = checkpoint.model.sizes
    assert {name: array.shape for name, array in checkpoint.model.parameters.items()} == sizes.shapes()
    assert all(np.isfinite(array).all() for array in checkpoint.model.parameters.values())
    assert len(checkpoint.vocabulary) == sizes.vocabulary


class Plain(yaml.SafeDumper):
    """Writes what stands twice, twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def keys(section: dict, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where every value of a configuration stands."""
    return [
        path
        for key, value in section.items()
        for path in [(*prefix, key), *(keys(value, (*prefix, key)) if isinstance(value, dict) else [])]
    ]


@given(
    changes=st.lists(st.tuples(st.sampled_from(keys(Config().model_dump())), anything), max_size=4),
    whole=st.none() | anything,
)
@settings(max_examples=EXAMPLES)
def test_any_configuration_is_one_or_is_refused(
    changes: list[tuple[tuple[str, ...], object]], whole: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Given as YAML, and as settings; what is taken is written and read again to be the same."""
    raw = Config().model_dump() if whole is None else whole
    for (*sections, key), value in changes:
        place = raw
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[key] = value
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.dump(raw, Dumper=Plain, allow_unicode=False))
    try:
        config = configuration.load(path)
    except MakemoreError as error:
        refusal(error, str(path))
        return
    path.write_text(configuration.dump(config), encoding="utf-8")
    assert configuration.load(path) == config
