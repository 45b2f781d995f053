"""The pictures of a run, drawn with Matplotlib; `gallery.py` has them by name.

All share one style.
"""
