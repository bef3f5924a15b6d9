"""A search whose study is on a database server, as on a cluster."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tests.end_to_end.runs import TINY
from tests.end_to_end.test_sweep_crashes import kill_after, start

PASSWORD = "s3cret-of-the-study"


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """A PostgreSQL server of this machine, started for these tests."""
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("PostgreSQL is not installed")
    with socket.socket() as free, tempfile.TemporaryDirectory() as name:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        folder = Path(name)
        password = folder / "password"
        password.write_text(PASSWORD)
        # The server refuses to run as root.
        user = "postgres" if os.getuid() == 0 else None
        if user is not None:
            for path in (folder, password):
                shutil.chown(path, user)
        data, log = str(folder / "data"), str(folder / "log")
        make = ["initdb", "-D", data, "-U", "me", "-A", "password", "--pwfile", str(password)]
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        subprocess.run(make, user=user, check=True, capture_output=True)
        subprocess.run(["pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start"], user=user, check=True)
        yield f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/postgres"
        subprocess.run(["pg_ctl", "-D", data, "-m", "immediate", "stop"], user=user, check=True)


@pytest.mark.slow
def test_a_killed_search_goes_on_with_its_study_on_a_server(server_url, class_folders, session_cache, tmp_path):
    command = [
        "hpo=density", "hpo.trials=3", f"hpo.storage={server_url}", *TINY, "train.epochs=4",
        f"data.root={class_folders}", f"cache_dir={session_cache}",
    ]  # fmt: skip
    kill_after(start(command, tmp_path), 12, 0.1)
    done = start(command, tmp_path)
    output = done.communicate()[0]
    assert done.returncode == 0, output
    (sweep,) = (tmp_path / "multirun").iterdir()
    study = optuna.load_study(study_name=sweep.name, storage=server_url)
    assert [(trial.number, trial.state.name) for trial in study.trials] == [(i, "COMPLETE") for i in range(3)]
    assert not (sweep / "study.db").exists()
    assert (sweep / "best_config.yaml").exists()
    assert PASSWORD not in output
    written = [file for file in tmp_path.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]
    assert written == []
