"""Where weights come from (seeded, a hub or a folder), and what a model consists of."""
