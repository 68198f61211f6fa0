"""The claims of the 2022 post, each judged by the tables."""
