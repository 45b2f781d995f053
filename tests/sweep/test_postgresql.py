"""Sweeps that share a study in PostgreSQL: with a real server, which restarts, and processes that are killed."""

from __future__ import annotations

import getpass
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path

import psycopg
import pytest
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from makemore_cli.config import load as configuration
from makemore_cli.sweep import liveness, patient
from makemore_cli.sweep import search as sweeps
from makemore_cli.sweep.storage import StorageError, stored
from makemore_cli.sweep.study import open_study, outcomes
from makemore_cli.system import child_processes as children
from makemore_cli.training.trainer import train
from tests.conftest import Cli
from tests.sweep.test_search import SPACE, planned, worked
from tests.test_documentation import PAGES, blocks

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: float(path.parent.name))
if PROGRAMS is None and (found := shutil.which("postgres")):
    PROGRAMS = Path(found).resolve().parent
needs_server = pytest.mark.skipif(PROGRAMS is None, reason="no PostgreSQL server is installed")
PASSWORD = "sesame"


class Server:
    """A PostgreSQL server on the loopback interface. It refuses to run as root, so root runs it as another user."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user, self.process = folder, getpass.getuser(), None
        if os.geteuid() == 0:
            known = {user.pw_name for user in pwd.getpwall()}
            self.user = "postgres" if "postgres" in known else "nobody"
            shutil.chown(folder, self.user)
        self.run(
            "initdb", "--pgdata=data", "--username=me", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        rule = "host all careful 127.0.0.1/32 scram-sha-256\n"
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text(rule + rules.read_text())

    def options(self) -> dict[str, object]:
        root = os.geteuid() == 0
        return {"cwd": self.folder, **({"user": self.user, "group": pwd.getpwnam(self.user).pw_gid} if root else {})}

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([PROGRAMS / program, *arguments], capture_output=True, text=True, **self.options())
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        given = [f"--{name}={value}" for name, value in settings.items()]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / "postgres", "-D", "data", *given], stdout=log, stderr=log, **self.options()
            )
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url()).close()
                return
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """End the server; by default in immediate mode, as after a crash."""
        self.process.send_signal(number)
        self.process.wait()

    def url(self, database: str = "postgres", user: str = "me") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Create a database. Returns its URL."""
        self.execute(f"CREATE DATABASE {database}")
        return self.url(database)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="makemore-postgresql-"))  # pytest's own folders are closed to other users
    try:
        server = Server(folder)
        server.start()
        try:
            server.execute(f"CREATE ROLE careful LOGIN PASSWORD '{PASSWORD}'")
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    """An empty database of the test's own."""
    return server.create(f"d{os.getpid()}_{time.monotonic_ns()}")


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen) -> None:
    """Wait until a condition holds; the processes must not end before."""
    while not condition():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


def states(study: Study) -> Counter[str]:
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


def running(study: Study) -> list[FrozenTrial]:
    """The trials that report losses already."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in trials if trial.intermediate_values]


def halted(study: Study, *processes: subprocess.Popen) -> FrozenTrial:
    """Halt a worker in the middle of a trial. Returns the trial."""
    while True:
        wait_for(lambda: bool(running(study)), *processes)
        pid = running(study)[0].user_attrs["pid"]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)  # the server finishes what it was told before
        for trial in running(study):
            if trial.user_attrs["pid"] == pid:
                return trial
        os.kill(pid, signal.SIGCONT)


# --- One study for several processes ---

BEGIN = """
import sys
from pathlib import Path
from makemore_cli.config.schema import Config
from makemore_cli.sweep.space import Range
from makemore_cli.sweep.storage import alone, stored
from makemore_cli.sweep.study import Plan, begin, open_study, require_optuna
require_optuna()
for url in sys.stdin:
    plan = Plan(Config(), "", {"optim.lr": Range(low=0.1, high=1.0)}, Path(), url.strip(), "shared", 1, 1)
    with stored(plan), alone(plan):
        begin(open_study(plan), plan)
    print("begun", flush=True)
"""


@needs_server
def test_several_processes_begin_the_same_study(server: Server, tmp_path: Path) -> None:
    """They create the tables and the study at the same moment. It gets one first trial."""
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", BEGIN], **pipe) for _ in range(3)]
    try:
        for repetition in range(3):
            url = server.create(f"begun{os.getpid()}_{repetition}")
            for process in processes:
                process.stdin.write(f"{url}\n")
                process.stdin.flush()
            assert [process.stdout.readline() for process in processes] == ["begun\n"] * 3
            study = open_study(replace(planned(tmp_path), storage=url, name="shared"))
            assert states(study) == {"WAITING": 1}
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def command(folder: Path, url: str, *more: object) -> list[str]:
    space = folder.parent.parent / "space.yaml"
    space.write_text("optim.lr: {low: 0.01, high: 1.0, log: true}\nmodel.embedding_size: {low: 2, high: 9}\n")
    options = ["--config", "tiny", "--space", space, "--out", folder, "--jobs", 2, "--storage", url, *more]
    folder.mkdir(parents=True, exist_ok=True)
    return [sys.executable, "-m", "makemore_cli", "sweep", *map(str, options)]


def opened(folder: Path, url: str) -> Study:
    with stored(plan := replace(planned(folder), storage=url, name="shared")), patient.alone(url):
        return open_study(plan)


@needs_server
@pytest.mark.slow
def test_two_sweeps_survive_restarts_and_a_killed_worker(server: Server, url: str, tmp_path: Path) -> None:
    """One worker and its sweep are lost, and its trial is tried again. The other sweep runs the missing trials."""
    study = opened(tmp_path / "here", url)
    lines = [command(tmp_path / name / "shared", url, "-n", 12, "--set=train.steps=10000") for name in ("one", "two")]
    both = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for line in lines]
    try:
        for number in (signal.SIGQUIT, signal.SIGINT):
            before = states(study)["COMPLETE"]
            wait_for(lambda before=before: states(study)["COMPLETE"] > before, *both)
            server.stop(number)
            time.sleep(1)
            server.start()
        lost = halted(study, *both)
        os.kill(lost.user_attrs["pid"], signal.SIGKILL)
        errors = [process.communicate(timeout=300)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert sorted(process.returncode for process in both) == [0, 2], errors
    told = [line for error in errors for line in error.splitlines() if not re.match(r"\d+/12  trial ", line)]
    assert len(told) == 1, told
    assert "a worker of the sweep was killed" in told[0]
    ended = states(study)
    assert ended.keys() <= {"COMPLETE", "PRUNED", "FAIL", "WAITING"}
    assert 12 <= ended["COMPLETE"] + ended["PRUNED"] <= 12 + 3
    assert study.trials[lost.number].state == TrialState.FAIL
    assert lost.params in [
        trial.params or trial.system_attrs["fixed_params"] for trial in study.trials[lost.number + 1 :]
    ]


@needs_server
@pytest.mark.slow
def test_a_sweep_without_its_server_can_be_stopped_and_goes_on(server: Server, url: str, tmp_path: Path) -> None:
    study = opened(tmp_path / "here", url)
    line = command(tmp_path / "one" / "shared", url, "-n", 3, "--set=train.steps=40000")
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: bool(running(study)), process)
            server.stop()
            time.sleep(2)  # it reports a loss several times a second
            process.terminate()
            error = process.communicate(timeout=patient.PATIENCE_SECONDS / 2)[1]
        finally:
            process.kill()
            server.start()
    assert process.returncode == 143
    assert error.splitlines()[-1] == "makemore: stopped; run the same sweep again to continue it"
    assert error.count("\n") <= 2  # that it is stopping, if that took a moment
    left = study.get_trials(states=(TrialState.RUNNING,))
    assert left
    again = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert states(study)["COMPLETE"] + states(study)["PRUNED"] in (3, 4)
    assert states(study)["RUNNING"] == 0
    for trial in left:
        assert study.trials[trial.number].state == TrialState.FAIL
        assert not trial.params or trial.params in [later.params for later in study.trials[trial.number + 1 :]]


@needs_server
@pytest.mark.slow
def test_the_commands_of_the_page(server: Server, tmp_path: Path) -> None:
    """Two folders run them as they stand, when other machines have run all trials but two."""
    page = PAGES["sweeps"][PAGES["sweeps"].index("## Sharing a sweep") :]
    create, line = blocks(page, "sh")
    paths = [str(PROGRAMS), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {"PATH": ":".join(paths), "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "me"}
    environment = os.environ | environment
    subprocess.run(create, shell=True, check=True, env=environment)
    parts = configuration.find("fast", "configs/spaces", "space")
    plan = sweeps.plan(configuration.load(configuration.find("fast")), parts, tmp_path, trials=60)
    plan = replace(plan, storage=server.url("sweeps"), name="fast")
    sweeps.begin(study := open_study(plan), plan)
    for number in range(58):
        trial = study.ask()
        for key, part in plan.space.items():
            part.suggest(trial, key)
        study.tell(trial, 3.0 + number)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    processes = [
        subprocess.Popen(line, shell=True, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        for folder in folders
    ]
    try:
        shown = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    assert states(study)["COMPLETE"] + states(study)["PRUNED"] in (60, 61)
    assert all(re.search(r"^6[01] trials: ", text, re.MULTILINE) for text in shown)
    assert all((folder / "sweeps" / "fast" / "best.yaml").exists() for folder in folders)


# --- What a server, or the way to it, may do ---


class Proxy:
    """Passes bytes on to a server, but loses the answer to some COMMITs, together with the connection."""

    def __init__(self, port: int, share: float) -> None:
        self._port, self._share, self._random = port, share, random.Random(0)
        self.lost = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._socket.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        upstream, losing = socket.create_connection(("127.0.0.1", self._port)), threading.Event()

        def answer() -> None:
            with suppress(OSError):
                while (data := upstream.recv(1 << 16)) and not losing.is_set():
                    client.sendall(data)
            for end in (client, upstream):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if b"COMMIT" in data and self._random.random() < self._share:
                    self.lost += 1
                    losing.set()
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_RDWR)
        answering.join()
        client.close()
        upstream.close()


@needs_server
@pytest.mark.slow
def test_answers_that_are_lost(server: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has done what it was asked for, and is asked again. No trial fails or counts twice."""
    monkeypatch.setattr(patient, "PAUSE_SECONDS", 0.01)
    plan = planned(tmp_path, SPACE, "train.steps=20", trials=4, storage=url)
    worked(plan, 0)
    for share in (0.1, 0.25):
        proxy = Proxy(server.port, share)
        try:
            through = replace(plan, storage=url.replace(str(server.port), str(proxy.port)))
            assert len(worked(through, 2)) == 2
        finally:
            proxy.close()
        assert proxy.lost > 3
    study = open_study(plan)
    ended = outcomes(study, plan.space)
    assert [trial.state for trial in ended] == ["complete"] * 4
    for trial in ended:
        again = train(configuration.change(plan.config, trial.settings, ""), tmp_path / str(trial.number))
        assert again.loss["val"] == trial.val
    # A trial that was created twice is given back like one of a machine that has vanished.
    monkeypatch.setattr(liveness, "GRACE_SECONDS", -1)
    liveness.Lookout().look(study)
    assert states(study).keys() <= {"COMPLETE", "FAIL", "WAITING"}


@needs_server
def test_a_server_that_stays_away(server: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operation fails then, in one line, and works again once the server is back."""
    plan = planned(tmp_path, trials=1, storage=url)
    study = open_study(plan)
    trial = study.ask()
    monkeypatch.setattr(patient, "PATIENCE_SECONDS", 1)
    server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StorageError) as caught, stored(plan):
                trial.report(1.0, 1)
    finally:
        server.start()
    told = str(caught.value)
    assert told.startswith(f"{url}: no answer for 1 seconds: OperationalError: connection failed: ")
    assert told.endswith("; run the same sweep again to continue it once the server answers")
    trial.report(1.0, 1)
    assert study.tell(trial, 2.0).intermediate_values == {1: 1.0}


@needs_server
@pytest.mark.slow
def test_a_trial_whose_process_stands_still(
    server: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others give it back. When its process goes on, it drops the trial, which counts once."""
    plan = planned(tmp_path, SPACE, "train.steps=20000", trials=1, storage=url)
    sweeps.begin(study := open_study(plan), plan)
    ours, theirs = Pipe()
    code = "from makemore_cli.sweep import liveness, worker; liveness.BEAT_SECONDS = 0.1; "
    process = children.start(code + f"worker.serve({theirs.fileno()})", [theirs.fileno()])
    theirs.close()
    try:
        ours.send(plan)
        ours.send(True)
        wait_for(lambda: any(trial.user_attrs.get("beat", 0) > 2 for trial in running(study)), process)
        process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(liveness, "GRACE_SECONDS", 0.5)
        lookout = liveness.Lookout()
        while not states(study)["FAIL"]:
            lookout.look(study)
            time.sleep(0.05)
        process.send_signal(signal.SIGCONT)
        assert ours.recv() == 1
        first, second = study.trials
        assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)
        assert first.params == second.params
    finally:
        process.kill()
        process.wait()
        ours.close()


# --- Mistakes ---


def sweep(cli: Cli, tmp_path: Path, url: str) -> str:
    """The error of a sweep with this storage, which is one line."""
    (tmp_path / "space.yaml").write_text(SPACE)
    run = cli(
        "sweep", "--config", "tiny", "--space", tmp_path / "space.yaml", "--out", tmp_path / "s", "--storage", url
    )
    assert (run.code, run.out, run.err.count("\n")) == (2, "", 1)
    return run.err


@needs_server
def test_mistakes_in_the_address(server: Server, cli: Cli, tmp_path: Path) -> None:
    """The error comes at once, in one line, without the password."""
    right = server.url(user=f"careful:{PASSWORD}")
    refused = f"postgresql://careful:{PASSWORD}@127.0.0.1:1/postgres"
    for url, told in (
        (server.url(user="careful:sesam"), 'password authentication failed for user "careful"'),
        (server.url(user=f"nemo:{PASSWORD}"), 'role "nemo" does not exist'),
        (right.replace("/postgres", "/atlantis"), 'database "atlantis" does not exist'),
        (refused, "Connection refused"),
        (right.replace(PASSWORD, f"{PASSWORD}@1"), "write %40 for each @ in the password"),
        (right.replace(str(server.port), "port"), "invalid literal for int() with base 10: 'port'"),
        (right, "permission denied for schema public"),
        (server.url().replace("me@", "") + f"?user=careful&password={PASSWORD}", "permission denied for schema public"),
    ):
        error = sweep(cli, tmp_path, url)
        assert told in error
        assert "sesam" not in error
        assert error.endswith(" (--storage)\n")


def test_a_driver_that_is_not_installed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient, "DRIVERS", ("no_such_driver",))
    for url in ("postgresql:///a", "postgres://me:secret@host/a"):
        told = "PostgreSQL needs a driver, which is not installed; run: pip install 'psycopg[binary]' (--storage)"
        assert sweep(cli, tmp_path, url) == f"makemore: {url.replace('secret', '***')}: {told}\n"
    url = "postgresql+pg8000://host/a"
    told = "needs the Python module pg8000, which is not installed; install it, or choose another one (--storage)"
    assert sweep(cli, tmp_path, url) == f"makemore: {url}: {told}\n"
