"""A token is seen by the hub alone: in no file, in no list of processes, in no log or traceback."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.hub_double import HubDouble, Repository
from tests.e2e.test_hub import REVISION, stable_diffusion
from tests.reliability import Tally

TOKEN = "hf_MARKEDsdbenchTOKEN0123456789"

DRIVER = """
import sys, time
from pathlib import Path
from fetch_model import fetch_model
from sdbench.runtime.job import logged
time.sleep = lambda seconds: None
if sys.argv[4] == "breaks":
    import os
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    import sdbench.models.hub as hub
    def download(repository, revision, token, path, folder):
        assert token.secret
        raise RuntimeError("broken on the way")
    hub.download = download
with logged(sys.argv[1]):
    fetch_model(sys.argv[2], sys.argv[3], Path("models/sd"))
"""


class Watch:
    """Looks at the arguments of every process of the machine, again and again."""

    def __init__(self) -> None:
        self.seen = b""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        known: set[bytes] = set()
        while not self._end.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    known.add(path.read_bytes())
                except OSError:
                    continue
            self._end.wait(0.02)
        self.seen = b"\n".join(known)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    files = stable_diffusion()
    files = {path: content for path, content in files.items() if len(content) < 10**6}
    files["unet/diffusion_pytorch_model.safetensors"] = files["text_encoder/model.safetensors"]
    repositories = {
        "acme/open": Repository(files, REVISION),
        "acme/gated": Repository(files, REVISION, gated=True),
    }
    with HubDouble(repositories) as double:
        yield double


RUNS = {
    "fetched": ("acme/gated", True, "", "acme/gated at"),
    "without the licence": ("acme/gated", False, "", "has no access: accept the licence"),
    "unknown to the hub": ("acme/open", None, "", "rejects the token in"),
    "no such repository": ("acme/none", True, "", "has no such repository"),
    "a server that fails": ("acme/open", True, "500", "answered 500"),
    "a fault of our own": ("acme/open", True, "breaks", "RuntimeError: broken on the way"),
}
"""Repository, whether the hub knows the token and its licence, what goes wrong, what is said."""


@pytest.mark.parametrize(
    ("name", "variable"),
    [("fetched", "HF_TOKEN"), *((name, "ACCESS_TOKEN") for name in RUNS)],
)
def test_nobody_but_the_hub_sees_the_token(
    name: str, variable: str, hub: HubDouble, tmp_path: Path, tally: Tally
) -> None:
    repository, licence, fault, said = RUNS[name]
    if licence is not None:
        hub.tokens[TOKEN] = licence
    if fault.isdigit():
        hub.faults.status = int(fault)
    arguments = ["fetch.log", repository, REVISION, fault]
    environment = {
        **{key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ},
        **{"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path), variable: TOKEN},
        **{"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_ETAG_TIMEOUT": "5"},
        "PYTHONPATH": str(ROOT / "scripts"),
    }
    with Watch() as watch:
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    log = (tmp_path / "fetch.log").read_text()
    assert said in log
    assert (done.returncode == 0) == (name == "fetched")
    assert ("Traceback" in log) == (fault == "breaks")
    assert any(request.authorised for request in hub.requests)
    assert b"broken on the way" in watch.seen, "the processes were not looked at"
    assert TOKEN.encode() not in watch.seen
    assert TOKEN not in done.stdout + done.stderr
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert written
    for file in written:
        assert TOKEN.encode() not in file.read_bytes(), file
    tally.tried("runs with a token", "accepted" if name == "fetched" else "refused")
