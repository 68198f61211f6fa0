"""What a person is told of a wrong input."""

import re

LONGEST = 1200
"""Characters of a line that says what is wrong, its paths included."""


def assert_one_line(message: str, *parts: str) -> None:
    """Check that a message is one line that a person can read, with a remedy and these parts."""
    assert message.isprintable(), ascii(message)
    assert len(message) <= LONGEST, message
    # The remedy: what follows the last colon tells to do something, or where to look.
    assert re.search(r": [a-z`][^:]{4,}$", message), message
    for part in parts:
        assert part in message, message
