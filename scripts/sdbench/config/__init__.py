"""Read, check and document the config."""
