"""OpenVINO, imported so that it reports nothing to anyone.

Its Python package and NNCF count their use through openvino-telemetry, which asks nobody, keeps an
identifier under the home folder and sends it to a server. Both do without where the package is not
installed; for this process it is not. Source: openvino/tools/ovc/telemetry_utils.py and
nncf/telemetry/wrapper.py.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # any import of it fails

import openvino  # noqa: E402 - what is set must be set before

__all__ = ["openvino"]
