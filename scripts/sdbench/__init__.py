"""sdbench: what does it take to run a text-to-image model? The library below the workflow."""
