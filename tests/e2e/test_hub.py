"""Downloading from a hub, against a double of it on loopback; each download in its own process."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdbench.models.hub import Token, explained
from sdbench.models.manifest import describe
from sdbench.runtime.errors import UserError
from tests.e2e.hub_double import HubDouble, Repository
from tests.unit.test_models_manifest import FILES, safetensors

WORKFLOW = Path(__file__).parents[2]
REVISION = "0123456789abcdef0123456789abcdef01234567"
DRIVER = """
import sys, time
from pathlib import Path
time.sleep = lambda seconds: None
from fetch_judge import fetch_judge
from fetch_model import fetch_model
from sdbench.runtime.job import logged
log, repository, revision, folder = sys.argv[1:]
tokenizer = {"hub": "acme/bert", "revision": revision} if "reward" in repository else None
with logged(log):
    if tokenizer or "clip" in repository:
        fetch_judge(repository, revision, tokenizer, Path(folder))
    else:
        fetch_model(repository, revision, Path(folder))
"""
UNET = "unet/diffusion_pytorch_model.safetensors"
CHUNK = 10 * 1024 * 1024
"""What the client writes at a time: only what reached the disk can be resumed."""


def weights(numbers: int, name: str = "weight") -> bytes:
    """Return a safetensors file of one fp32 tensor."""
    return safetensors({name: ("F32", [numbers], 4 * numbers)})


def stable_diffusion() -> dict[str, bytes]:
    """Return the files of a repository like those that Stable Diffusion was published in."""
    return FILES | {UNET: weights(7 * 1024 * 1024)} | dict.fromkeys(UNWANTED, b"unwanted")


UNWANTED = (
    "README.md",
    "sd-v1-4.ckpt",
    "feature_extractor/preprocessor_config.json",
    "safety_checker/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.bin",
)


def sharded(stem: str, count: int) -> dict[str, bytes]:
    """Return shards of 1, 2, ... numbers, and the index that says what is in each."""
    shards = [f"{stem}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    names = {f"layer{i}": shard.rpartition("/")[2] for i, shard in enumerate(shards)}
    index = json.dumps({"metadata": {}, "weight_map": names}).encode()
    files = {shard: weights(i + 1, f"layer{i}") for i, shard in enumerate(shards)}
    return files | {f"{stem}.safetensors.index.json": index}


def flux() -> dict[str, bytes]:
    """Return the files of a repository like that of FLUX.1: two text encoders, and shards."""
    plain = (
        "text_encoder/config.json",
        "text_encoder_2/config.json",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "tokenizer_2/tokenizer.json",
        "tokenizer_2/tokenizer_config.json",
        "transformer/config.json",
        "vae/config.json",
    )
    return {
        "model_index.json": b'{"_class_name": "FluxPipeline"}',
        **dict.fromkeys(plain, b"{}"),
        "scheduler/scheduler_config.json": b'{"shift": 3.0}',
        **sharded("text_encoder_2/model", 2),
        **sharded("transformer/diffusion_pytorch_model", 3),
        "text_encoder/model.safetensors": weights(3),
        "tokenizer_2/spiece.model": b"pieces",
        "vae/diffusion_pytorch_model.safetensors": weights(4),
    }


UNWANTED_OF_CLIP = ("pytorch_model.bin", "tf_model.h5", "README.md", "preprocessor_config.json")


def clip() -> dict[str, bytes]:
    """Return the files of a repository like those that CLIP was published in."""
    needed = ("config.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json")
    return {
        **dict.fromkeys(needed, b"{}"),
        "model.safetensors": weights(5),
        **dict.fromkeys(UNWANTED_OF_CLIP, b"unwanted"),
    }


UNWANTED_OF_FLUX = (
    "flux1-schnell.safetensors",
    "ae.safetensors",
    "README.md",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.onnx",
    "text_encoder_2/pytorch_model-00001-of-00002.bin",
    "transformer/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "vae_decoder/model.onnx",
)


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    pickled = {k: v for k, v in stable_diffusion().items() if not k.endswith(".safetensors")}
    index = b'{"_class_name": "StableVideoDiffusionPipeline"}'
    other = stable_diffusion() | {"model_index.json": index}
    repositories = {
        "acme/open": Repository(stable_diffusion(), REVISION),
        "acme/gated": Repository(stable_diffusion(), REVISION, gated=True),
        "acme/pickled": Repository(pickled, REVISION),
        "acme/other": Repository(other, REVISION),
        "acme/clip": Repository(clip(), REVISION),
        "acme/pickled-clip": Repository({"config.json": b"{}"}, REVISION),
        "acme/reward": Repository({"ImageReward.pt": b"zip", "med_config.json": b"{}"}, REVISION),
        "acme/no-reward": Repository({"README.md": b"none"}, REVISION),
        "acme/bert": Repository({"vocab.txt": b"a\n", "pytorch_model.bin": b"pickle"}, REVISION),
        "acme/flux": Repository(flux() | dict.fromkeys(UNWANTED_OF_FLUX, b"unwanted"), REVISION),
    }
    with HubDouble(repositories) as double:
        yield double


class Fetch:
    """Runs the rule's script as Snakemake would: alone, with only the environment."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder = folder / "models" / "sd"
        self.log = folder / "fetch.log"
        self.home = folder / "home"
        self.endpoint = endpoint

    def __call__(
        self, repository: str, revision: str = REVISION, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it; no token may be in what is said."""
        fixed = {
            "HOME": str(self.home),
            "HF_ENDPOINT": self.endpoint,
            "PYTHONPATH": str(WORKFLOW / "scripts"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        inherited = {k: os.environ[k] for k in ("PATH", "LANG") if k in os.environ}
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, self.log, repository, revision, self.folder],
            env=inherited | fixed | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        said = done.stdout + done.stderr + self.log.read_text()
        assert not [s for s in variables.values() if s.strip().startswith("hf_") and s in said]
        return done

    def fetched(self, repository: str = "acme/open", **variables: str) -> None:
        """Run, and expect no failure."""
        assert self(repository, **variables).returncode == 0, self.log.read_text()

    def refused(self, repository: str, **variables: str) -> str:
        """Run, expect a failure, and return its one line."""
        assert self(repository, **variables).returncode == 1
        assert "Traceback" not in self.log.read_text()
        assert not self.folder.exists()
        (line,) = [x for x in self.log.read_text().splitlines() if x.startswith("error: ")]
        return line


@pytest.fixture
def fetch(tmp_path: Path, hub: HubDouble) -> Fetch:
    return Fetch(tmp_path, hub.endpoint)


def files_in(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}


def test_a_judge_is_what_clip_reads_and_nothing_else(hub: HubDouble, fetch: Fetch) -> None:
    fetch.fetched("acme/clip")
    assert files_in(fetch.folder) == set(clip()) - set(UNWANTED_OF_CLIP)
    assert not any(map(hub.downloads, UNWANTED_OF_CLIP))


def test_a_judge_without_safetensors_is_refused(fetch: Fetch) -> None:
    line = fetch.refused("acme/pickled-clip")
    assert "the file model.safetensors is missing: use a complete copy of the CLIP model" in line


def test_image_reward_is_its_weights_and_the_tokenizer_of_another_repository(fetch: Fetch) -> None:
    fetch.fetched("acme/reward")
    assert files_in(fetch.folder) == {"ImageReward.pt", "tokenizer/vocab.txt"}
    fetch.folder.rename(fetch.folder.with_name("fetched"))
    line = fetch.refused("acme/no-reward")
    assert "the file ImageReward.pt is missing: use a complete copy of the weights of" in line


def test_only_what_a_pipeline_reads_is_downloaded(hub: HubDouble, fetch: Fetch) -> None:
    fetch.fetched()
    assert files_in(fetch.folder) == set(stable_diffusion()) - set(UNWANTED)
    for path in files_in(fetch.folder):
        assert (fetch.folder / path).read_bytes() == stable_diffusion()[path]
    assert not any(map(hub.downloads, UNWANTED))
    assert not any(request.authorised for request in hub.requests)
    assert list(fetch.folder.parent.iterdir()) == [fetch.folder]


def test_all_text_encoders_and_all_shards_are_downloaded(hub: HubDouble, fetch: Fetch) -> None:
    fetch.fetched("acme/flux")
    assert files_in(fetch.folder) == set(flux())
    assert not any(map(hub.downloads, UNWANTED_OF_FLUX))
    manifest = describe(fetch.folder, {"hub": "acme/flux", "revision": REVISION}, "flux")
    networks = {"text_encoder": 3, "text_encoder_2": 1 + 2, "transformer": 1 + 2 + 3, "vae": 4}
    assert manifest["parameters"] == networks


@pytest.mark.parametrize(
    ("variables", "login"),
    [
        ({"ACCESS_TOKEN": " hf_accepted\n", "HF_TOKEN": "hf_unknown"}, None),
        ({}, "hf_accepted"),
    ],
)
def test_a_token_opens_a_gated_model_and_stays_with_the_hub(
    hub: HubDouble, fetch: Fetch, variables: dict[str, str], login: str | None
) -> None:
    """ACCESS_TOKEN goes before the others; the last is the login of huggingface_hub. One alone, and
    tokens that open nothing: tests/security/test_token.py."""
    if login is not None:
        file = fetch.home / ".cache" / "huggingface" / "token"
        file.parent.mkdir(parents=True)
        file.write_text(login)
    fetch.fetched("acme/gated", **variables)
    for request in hub.requests:
        assert request.authorised == (request.host != hub.storage)


@pytest.mark.parametrize(
    ("repository", "variables", "said"),
    [
        ("gated", {}, "accept the licence of acme/gated on its page.*set ACCESS_TOKEN"),
        ("none", {}, "has no such repository, or it is private"),
        ("open", {"revision": "f" * 40}, f"no revision {'f' * 40}.*/acme/open/commits/main"),
        ("pickled", {}, r"only text_encoder/pytorch_model\.bin, a pickle"),
        ("other", {}, "found `StableVideoDiffusionPipeline`"),
        ("open", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids the download"),
    ],
)
def test_what_cannot_be_had_is_refused_before_its_weights_come(
    hub: HubDouble, fetch: Fetch, repository: str, variables: dict[str, str], said: str
) -> None:
    assert re.search(said, fetch.refused(f"acme/{repository}", **variables))
    assert not [request for request in hub.requests if request.path.startswith("/storage/")]


def test_a_token_that_lacks_the_right_to_read(hub: HubDouble, fetch: Fetch) -> None:
    hub.faults.status = 403
    refused = fetch.refused("acme/open", ACCESS_TOKEN="hf_accepted")
    assert "the token in ACCESS_TOKEN has no access" in refused


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_connection_is_mended(hub: HubDouble, fetch: Fetch, reset: bool) -> None:
    hub.faults.cut_after[UNET] = [CHUNK + CHUNK // 2]
    hub.faults.reset = reset
    fetch.fetched()
    stored = [r for r in hub.downloads(UNET) if r.path.startswith("/storage/")]
    assert [r.range for r in stored] == [None, None if reset else f"bytes={CHUNK}-"]
    expected = hashlib.sha256(stable_diffusion()[UNET]).digest()
    assert hashlib.sha256((fetch.folder / UNET).read_bytes()).digest() == expected


def test_what_has_come_is_kept_for_the_next_run(hub: HubDouble, fetch: Fetch) -> None:
    hub.faults.cut_after[UNET] = [0] * 100
    assert "run again; finished files are kept" in fetch.refused("acme/open")
    hub.faults.cut_after.clear()
    hub.requests.clear()
    fetch.fetched()
    assert hub.downloads(UNET)
    assert not hub.downloads("vae/diffusion_pytorch_model.safetensors")
    assert files_in(fetch.folder) == set(stable_diffusion()) - set(UNWANTED)


def test_a_damaged_file_is_not_taken(hub: HubDouble, fetch: Fetch) -> None:
    """Nor one that an earlier run left."""
    left = fetch.folder.with_name(".sd.part") / UNET
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(len(stable_diffusion()[UNET])))
    hub.faults.damaged.add(UNET)
    assert f"{UNET} has another hash than on the Hub" in fetch.refused("acme/open")
    left.write_bytes(bytes(len(stable_diffusion()[UNET])))
    hub.faults.damaged.clear()
    fetch.fetched()
    assert (fetch.folder / UNET).read_bytes() == stable_diffusion()[UNET]


@pytest.mark.parametrize(
    ("error", "shown", "said"),
    [
        (OSError(errno.ENOSPC, "full"), UserError, "the disk is full: free disk space and run"),
        (PermissionError(), PermissionError, None),
    ],
)
def test_what_the_user_cannot_mend_keeps_its_traceback(
    error: OSError, shown: type[Exception], said: str | None
) -> None:
    with pytest.raises(shown, match=said), explained("acme/open", REVISION, Token(None, "")):
        raise error


def test_network_unreachable(fetch: Fetch) -> None:
    fetch.endpoint = "http://127.0.0.1:9"  # nothing may listen at the port of `discard`
    assert "was not reached (ConnectError)" in fetch.refused("acme/open")


CONFIG = """
pathvars: {results: out}
models:
  sd:
    source: {hub: acme/gated, revision: REVISION}
    generation: {prompt: a, steps: 1, scheduler: ddim, guidance: 1, height: 64, width: 64}
devices:
  cpu: {kind: cpu}
matrix:
  - {model: sd, devices: [cpu], backends: [pytorch], precisions: [fp32], batch_sizes: [1]}
"""


def test_the_workflow_fetches_and_describes_and_never_writes_the_token(
    hub: HubDouble, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("REVISION", REVISION))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW / "Snakefile")]
    command += ["--configfile", "config.yaml", "--cores", "1", "--printshellcmds", "--verbose"]
    command += ["--", "out/models/sd.json"]
    variables = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": "0",  # as other tests in this process have set it
        "HF_HOME": str(tmp_path / "home"),
    }
    done = {}
    for token in ("hf_stranger", "hf_accepted"):
        done[token] = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | variables | {"ACCESS_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert token not in done[token].stdout + done[token].stderr
    refused, fetched = done.values()
    assert "failed: acme/gated: the token in ACCESS_TOKEN has no access" in refused.stderr
    assert fetched.returncode == 0, fetched.stderr
    manifest = json.loads((tmp_path / "out" / "models" / "sd.json").read_text())
    assert manifest["source"] == {"hub": "acme/gated", "revision": REVISION}
    assert manifest["parameters"] == {"text_encoder": 6, "unet": 7 * 1024 * 1024, "vae": 1}
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(".snakemake" in file.parts for file in written)
    for file in written:
        content = file.read_bytes()
        assert b"hf_stranger" not in content and b"hf_accepted" not in content, file
