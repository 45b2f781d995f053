"""The plots of a run, drawn with Matplotlib in one style; `gallery.py` lists them by name."""
