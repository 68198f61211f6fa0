"""What differs on a GPU from what the doubles of the tests pretend.

    PYTHONPATH=scripts python benchmarks/gpu_day/differences.py [RESULTS]

Asks the first NVIDIA GPU for all that tests/e2e and tests/cuda_build have doubles for, each
question in a process of its own, as measuring does; and says of the records in a folder of results
what is missing in them. A line for each answer; the last says how many differ. Without a GPU the
same is asked of the CPU, as far as it goes, as a rehearsal.
"""

import functools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch._dynamo.utils import counters

import sdbench.measure.sweep  # noqa: F401 - as every job that measures: before it forks
from sdbench.backends import pytorch
from sdbench.cases.kinds import ask_nvidia, nvidia_bytes, nvidia_gpus
from sdbench.devices import nvml
from sdbench.devices.discovery import find_devices, torch_build
from sdbench.devices.platforms import PLATFORMS, Cuda, is_lost, set_tf32
from sdbench.devices.resident import rss_after_gc
from sdbench.measure.batch_prediction import beyond_allocator
from sdbench.measure.compiling import compile_anew
from sdbench.measure.latency import time_call
from sdbench.measure.memory import measure_memory
from sdbench.measure.status import is_out_of_memory
from sdbench.records.record import read_indexed
from sdbench.runtime.errors import one_line
from sdbench.runtime.files import read_json
from sdbench.runtime.processes import Ended, WorkerProcess, run_in_subprocess

KIND = "cuda" if nvidia_gpus() else "cpu"
GIB = 2**30
GPU_COUNTERS = ("peak_allocated_bytes", "peak_reserved_bytes", "reserved_after_run_bytes",
                "nvml_process_bytes")  # fmt: skip


class Answer(NamedTuple):
    """What was asked, what doubles say, and what was found; whether that is the same."""

    what: str
    pretended: object
    found: object
    same: bool


Tell = Callable[[str, object, object, bool], None]
Check = Callable[[Tell, torch.device], None]


def _device() -> torch.device:
    platform = PLATFORMS[KIND]
    missing = platform.why_missing(0)
    assert missing is None, missing
    return platform.device(0)


def tools(tell: Tell, device: torch.device) -> None:
    """The driver's tool, as `devices: auto` reads it."""
    named = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    tell("nvidia-smi names the GPUs as PyTorch does", named, nvidia_gpus(), named == nvidia_gpus())
    found = find_devices(torch_build())
    kinds = Counter(entry["kind"] for entry in found.devices.values())
    tell("devices: auto finds them", "cuda", [*found.devices, *found.notes], kinds["cuda"] > 0)
    total, told = torch.cuda.get_device_properties(device).total_memory, nvidia_bytes()
    near = bool(told) and abs(max(told or [0]) / total - 1) < 0.05
    tell("nvidia-smi tells of about as much memory as PyTorch", total, told, near)
    head = next((line for line in ask_nvidia() if "CUDA" in line and "Version" in line), None)
    tell("nvidia-smi begins with its version of CUDA", "CUDA Version: 13.0", head, head is not None)


def driver(tell: Tell, device: torch.device) -> None:
    """NVML: facts, counters, state and the list of processes."""
    cuda, uuid = Cuda(), Cuda().uuid(device)
    facts = cuda.facts(device)
    tell("NVML knows the GPU by PyTorch's UUID", None, facts.pop("nvml"), facts["ecc"] is not None)
    silent = [name for name, value in facts.items() if value is None]
    tell("NVML and PyTorch tell every fact", [], silent or facts, not silent)
    others = cuda.others(device)
    tell("nobody else computes on the GPU", [], others, not others)
    pids = [process.pid for process in nvml._processes(uuid)]
    tell("the driver knows this process by its own pid", os.getpid(), pids, os.getpid() in pids)
    before = nvml.process_bytes(uuid)
    kept = torch.zeros(GIB, dtype=torch.uint8, device=device)
    after = nvml.process_bytes(uuid)
    grown = None if before is None or after is None else after - before
    tell("a GiB more is a GiB more of the process", GIB, grown, abs((grown or 0) - GIB) < GIB / 16)
    del kept
    shared = cuda.why_not_shared(device)
    tell("two processes may use it", None, shared, shared is None)
    joules, begin = cuda.energy(device).read(), time.perf_counter()
    matrix = torch.randn(8192, 8192, device=device)
    while time.perf_counter() - begin < 2:
        torch.mm(matrix, matrix)
        cuda.synchronize(device)
    spent = (cuda.energy(device).read() or 0) - (joules or 0)
    watts = spent / (time.perf_counter() - begin)
    tell("the counter of energy moves as a busy GPU does", "30 to 1500 W", watts, 30 < watts < 1500)
    state = cuda.state(device)
    silent = [name for name, value in state.items() if value is None]
    tell("clocks, heat and throttling are all told", [], silent or state, not silent)


def hold(_: str) -> Callable[[], int]:
    """Return what a neighbour on the GPU does: it holds a GiB, and tells its pid."""
    kept = torch.zeros(GIB, dtype=torch.uint8, device=_device())
    PLATFORMS[KIND].synchronize(kept.device)
    return lambda: os.getpid() if kept is not None else 0


def neighbour(tell: Tell, device: torch.device) -> None:
    """The list of processes, next to one that holds a GiB."""
    others = PLATFORMS[KIND].others(device)
    seen = len(others) == 1 and (others[0]["bytes"] or 0) >= GIB
    tell("a neighbour is seen with what it holds", "its pid, 1 GiB and more", others, seen)


def free(tell: Tell, device: torch.device) -> None:
    """Memory after a neighbour was killed."""
    info = PLATFORMS[KIND].memory_info(device)
    assert info is not None
    tell("all but a context is free after a process was killed", info[1], info[0],
         info[1] - info[0] < 2 * GIB)  # fmt: skip


def tf32(tell: Tell, device: torch.device) -> None:
    """The switches of TF32: what products and convolutions are off by."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(1024, 1024, generator=generator, dtype=torch.float64)
    image = torch.randn(1, 64, 64, 64, generator=generator, dtype=torch.float64)
    kernel = torch.randn(64, 64, 3, 3, generator=generator, dtype=torch.float64)
    works = {"product": (torch.mm, (matrix, matrix)),
             "convolution": (torch.nn.functional.conv2d, (image, kernel))}  # fmt: skip
    for name, (work, inputs) in works.items():
        exact: Any = work(*inputs)  # type: ignore[operator]
        for on in (False, True):
            set_tf32(on)
            made: Any = work(*(one.float().to(device) for one in inputs))  # type: ignore[operator]
            error = float((made.double().cpu() - exact).abs().max() / exact.abs().max())
            rounded = on and KIND == "cuda"
            what = f"a {name} with TF32 {'on' if on else 'off'} is off by"
            tell(what, "1e-5 and more" if rounded else "less", error, (error > 1e-5) == rounded)
    set_tf32(False)


def memory(tell: Tell, device: torch.device) -> None:
    """The counters of memory, of a call that takes half a GiB and gives it back."""

    def call() -> None:
        torch.ones(GIB // 2, dtype=torch.uint8, device=device)

    call()
    found = measure_memory(call, device, rss_after_gc())
    named = GPU_COUNTERS if KIND == "cuda" else ("resident_peak_bytes", "resident_above_load_bytes")
    silent = [name for name in named if found[name] is None]
    tell("every counter of memory counts", [], silent, not silent)
    counted = found[named[0] if KIND == "cuda" else named[1]] or 0
    tell("a peak of half a GiB", GIB // 2, counted, abs(counted - GIB // 2) < GIB / 64)
    if KIND == "cuda":
        context = beyond_allocator(found)
        tell("the driver counts a context beyond PyTorch", "0.1 to 2 GB", context,
             1e8 < context < 2e9)  # fmt: skip


def out_of_memory(tell: Tell, device: torch.device) -> None:
    """An allocation that cannot be, and one after it."""
    info = PLATFORMS[KIND].memory_info(device)
    try:
        torch.empty(2 * info[1] if info else 2**62, dtype=torch.uint8, device=device)
    except Exception as error:
        told = f"{type(error).__name__}: {one_line(error, 100)}"
        known = is_out_of_memory(error) and not is_lost(error)
        tell("memory that does not suffice is known as that", "oom, not lost", told, known)
    total = float(torch.ones(1000, device=device).sum())
    tell("the device is usable after that", 1000.0, total, total == 1000.0)


def lost(tell: Tell, device: torch.device) -> None:
    """A kernel that goes wrong."""
    try:
        torch.zeros(4, device=device)[torch.tensor([10**6], device=device)].cpu()
        PLATFORMS[KIND].synchronize(device)
    except Exception as error:
        told = f"{type(error).__name__}: {one_line(error, 100)}"
        known = is_lost(error) == (KIND == "cuda")
        tell("a kernel that goes wrong loses the device for its process", "lost", told, known)


def usable(tell: Tell, device: torch.device) -> None:
    """The device, in another process than one that lost it."""
    total = float(torch.ones(1000, device=device).sum())
    tell("another process can use the device after that", 1000.0, total, total == 1000.0)


def events(tell: Tell, device: torch.device) -> None:
    """The clock of the GPU against that of the harness."""
    matrix = torch.randn(4096, 4096, device=device)

    def work() -> None:
        for _ in range(50):
            torch.mm(matrix, matrix)

    work()
    event: Any = torch.cuda.Event
    begin, end = (event(enable_timing=True) for _ in range(2))
    ratios = []
    for _ in range(9):
        ours_s = time_call(work, lambda: PLATFORMS[KIND].synchronize(device))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize(device)
        ratios.append(ours_s / (begin.elapsed_time(end) / 1000))
    middle = sorted(ratios)[4]
    tell("a call takes as long by its events", 1.0, middle, abs(middle - 1) < 0.01)


def weights(tell: Tell, device: torch.device) -> None:
    """Formats of weights: how far a product is off, and that they take fewer bytes."""
    for switch in ("int8-weights", "fp8-weights", "nf4-weights"):
        if KIND == "cpu" and switch == "fp8-weights":
            continue
        torch.manual_seed(0)
        layer = torch.nn.Linear(1024, 1024, dtype=torch.bfloat16, device=device)
        inputs = torch.randn(64, 1024, dtype=torch.bfloat16, device=device)
        exact = layer(inputs)
        try:
            pytorch._find_quantizer(switch, "bf16", device)(layer, device=device)
            error = float((layer(inputs) - exact).abs().max() / exact.abs().max())
            tell(f"a product with {switch} is off by", "0 to 0.3", error, 0 < error < 0.3)
        except Exception as failure:
            tell(f"{switch} work", "", f"{type(failure).__name__}: {one_line(failure)}", False)


def graphs(tell: Tell, device: torch.device) -> None:
    """`torch.compile` as it is asked for: on CUDA recorded as graphs, which write to one place."""
    platform = PLATFORMS[KIND]
    layers = [torch.nn.Linear(512, 512), torch.nn.GELU(), torch.nn.Linear(512, 512)]
    network = torch.nn.Sequential(*layers).to(device, torch.bfloat16)
    inputs = torch.randn(64, 512, dtype=torch.bfloat16, device=device)
    compiled = torch.compile(network, mode=platform.compile_mode, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        call_s, told = compile_anew(
            lambda: compiled(inputs), lambda: platform.synchronize(device), device
        )
        tell("compiling is counted apart from the call", "compile_s is longer",
             (told, call_s), 0 < call_s < told["compile_s"])  # fmt: skip
        with torch.compiler.set_stance("fail_on_recompile"):
            places = {compiled(inputs).data_ptr() for _ in range(3)}
            error = float((compiled(inputs) - network(inputs)).abs().max())
        tell("it makes what the network makes, but for", "0.1 and less", error, error < 0.1)
    if KIND == "cuda":
        skips = counters["inductor"]["cudagraph_skips"]
        tell("no graph was left out", 0, skips, skips == 0)
        tell("a graph writes to the same memory in each call", 1, len(places), len(places) == 1)


CHECKS: tuple[Check, ...] = (
    tools, driver, tf32, memory, out_of_memory, lost, usable, events, weights, graphs,
)  # fmt: skip
OF_A_GPU = (tools, driver, events)


def answers_of(check: Check) -> list[Answer]:
    """Return what a process of its own finds; what ends it is an answer too."""
    if KIND == "cpu" and check in OF_A_GPU:
        return [Answer(f"{check.__name__}: only on a GPU", "", "not asked", True)]
    try:
        return [Answer(*one) for one in run_in_subprocess(_ask, check)]
    except Ended as error:
        found = [Answer(*one) for one in error.args[1]]
        return [*found, Answer(check.__name__, "an answer", error.args[0], False)]


def _ask(send: Callable[[Any], None], check: Check) -> None:
    def tell(what: str, pretended: object, found: object, same: bool) -> None:
        send((what, str(pretended), str(found), same))

    try:
        check(tell, _device())
    except Exception as error:
        tell(check.__name__, "an answer", f"{type(error).__name__}: {one_line(error)}", False)


def dies(send: Callable[[Any], None]) -> None:
    """Die with half a GiB of the device."""
    kept = torch.ones(GIB // 2, dtype=torch.uint8, device=_device())
    send(int(kept[0]))
    os.kill(os.getpid(), signal.SIGKILL)


def of_others() -> list[Answer]:
    """Return what is found while and after other processes use the device."""
    found = []
    if KIND == "cuda":
        with WorkerProcess(hold, KIND) as other:
            other.ask()
            found += answers_of(neighbour)
        found += answers_of(free)
    try:
        run_in_subprocess(dies)
    except Ended as error:
        same = error.args == ("the process ended with SIGKILL", [1])
        found.append(Answer("a process that dies is told from one that ends", "SIGKILL",
                            error.args[0], same))  # fmt: skip
    return found + (answers_of(free) if KIND == "cuda" else [])


def of_records(results: Path) -> list[Answer]:
    """Return what the records of a folder lack: doubles have every case run and every counter."""
    missing: Counter[str] = Counter()
    count = 0
    for index in sorted(results.glob("r*/*/*/*/index.json")):
        for _, record in read_indexed(index):
            count += 1
            variant = record["case"]["variant"]
            name = "{precision} {options}".format(**variant)
            if record["status"] != "ok":
                missing[f"{variant['device']} {name}: {record['status']}: {record['reason']}"] += 1
            elif "reference" not in record:
                missing.update(_silent(record))
        for search in read_json(index)["largest"]:
            sizes = [probe["batch_size"] for probe in search["probes"]]
            said = f"largest batch {search['largest_batch']}, tried {sizes}: {search['reason']}"
            missing[said] += search["reason"] is not None or not sizes
    found = [Answer("the records", "", f"{count} were read", count > 0)]
    return found + [
        Answer("of the records", "", f"{times} have {what}", False)
        for what, times in missing.items()
        if times
    ]


def _silent(record: Mapping[str, Any]) -> list[str]:
    """Return what a record of a case that ran does not tell."""
    launch = record["launches"][0]
    found = [f"disturbed: {reason}" for reason in launch["disturbed"]]
    if record["case"]["device"]["kind"] != "cuda":
        return found
    found += [f"no {name}" for name in GPU_COUNTERS if record["memory"][name] is None]
    state = launch["device_state"]["before"]
    found += [f"no {name}" for name, value in state.items() if value is None]
    timed = launch["throughput"] or launch["projection"]
    found += [] if timed["energy"] else ["no energy"]
    return found


def main() -> int:
    """Print every answer; return the exit status, 0 although some differ."""
    print(f"PyTorch {torch.__version__}, asked of {KIND}"
          + ("" if KIND == "cuda" else ": A REHEARSAL, which says nothing of a GPU"))  # fmt: skip
    answers: list[Answer] = []
    steps: list[Callable[[], list[Answer]]] = [
        functools.partial(answers_of, check) for check in CHECKS
    ]
    steps.insert(2, of_others)
    if len(sys.argv) > 1:
        steps.insert(0, lambda: of_records(Path(sys.argv[1])))
    for step in steps:
        for one in step():
            verdict = "as pretended" if one.same else "DIFFERS"
            print(f"{verdict}: {one.what}: {one.pretended} | found {one.found}", flush=True)
            answers.append(one)
    print(f"{sum(not one.same for one in answers)} of {len(answers)} answers differ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
