"""Figures: tables in, PNG and SVG out. Nothing here measures, and nothing touches a device."""
