"""Ask for known vulnerabilities of the locked packages: `make audit`.

Ends with status 1 where there is one. What could not be asked (no network, a package that the
service does not know) is a warning: it says nothing of the packages.
"""

import json
import subprocess
import sys
from collections.abc import Sequence


def audit(locks: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Return what pip-audit found, as JSON on its standard output where it could ask."""
    command = ["pip-audit", "--progress-spinner", "off", "--disable-pip", "--format", "json"]
    files = [part for lock in locks for part in ("--requirement", lock)]
    return subprocess.run([*command, *files], capture_output=True, text=True, check=False)


def judge(stdout: str, stderr: str) -> tuple[list[str], bool]:
    """Return what to say, line by line, and whether a vulnerability was found."""
    try:
        packages = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
        return [f"warning: not audited, the service was not reached: {last[:300]}"], False
    found = [
        f"error: {package['name']} {package['version']}: {fault['id']}: "
        + (f"use {' or '.join(fault['fix_versions'])}" if fault["fix_versions"] else "no fix yet")
        for package in packages
        for fault in package.get("vulns", ())
    ]
    skipped = sum("skip_reason" in package for package in packages)
    lines = [f"{len(packages) - skipped} of {len(packages)} packages audited"]
    if skipped:
        lines.append(f"warning: {skipped} packages could not be audited: unknown to the service")
    return [*lines, *found], bool(found)


def main(locks: Sequence[str]) -> int:
    """Print what was found and return the exit status."""
    asked = audit(locks)
    lines, vulnerable = judge(asked.stdout, asked.stderr)
    print("\n".join(lines))
    return int(vulnerable)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
