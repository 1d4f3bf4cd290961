"""The runner of the notebooks, the gallery and the explorers."""
