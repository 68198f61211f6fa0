"""`shapes`: a small Stable Diffusion trained here on captioned scenes, its data and its reader."""
