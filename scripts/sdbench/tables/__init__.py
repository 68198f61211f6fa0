"""Tables (CSV) from records (JSON): what columns they have, and how each is filled."""
