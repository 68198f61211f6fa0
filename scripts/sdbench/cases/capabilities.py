"""What each backend can do: known before one is imported, or a device touched.

What a machine or an installed library lacks is found by the backend's own module when it loads.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Capability:
    """What is known of a backend.

    `library`: the package whose version it goes by. `kinds`: the kinds of device that it runs on,
    and `no_kind` why on no other. `precisions`: those that it has, and `no_precision` why no other.
    `graphs`: the folder of the results with the exported networks that it reads; None where it
    reads the model itself. Which options it has, each option says (`sdbench.cases.options`).
    """

    library: str
    kinds: tuple[str, ...]
    precisions: tuple[str, ...]
    no_kind: str = ""
    no_precision: str = ""
    graphs: str | None = None


BACKENDS = {
    "pytorch": Capability(
        library="torch",
        kinds=("cpu", "cuda", "mps", "xpu"),
        precisions=("fp32", "tf32", "fp16", "bf16"),
    ),
    "onnxruntime": Capability(
        library="onnxruntime",
        kinds=("cpu", "cuda"),
        no_kind="sdbench uses only its providers for CPUs and CUDA GPUs",
        precisions=("fp32", "tf32"),
        no_precision=(
            "the ONNX graphs are exported in fp32, and its CPU provider has no kernels for "
            "products in bf16 and computes fp16 with casts to fp32"
        ),
        graphs="onnx",
    ),
    "openvino": Capability(
        library="openvino",
        kinds=("cpu",),
        no_kind="sdbench runs it only on CPUs; Intel GPUs could not be tested",
        precisions=("fp32", "fp16", "bf16"),
        no_precision="it does not have this mode on a CPU",
        graphs="openvino",
    ),
}
"""Every backend, by its name in the config, which is that of its module and its environment."""
