"""Figures and the page, from tables and images."""
