"""Digests: what tells two things apart, whatever they are called."""

import hashlib
import json
from typing import Any


def digest(data: Any) -> str:
    """Return the SHA-256 of `data` (built-in types) in canonical JSON, 64 hexadecimal digits."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
