"""Notebook 09: other radii, and controls that are not robust."""
