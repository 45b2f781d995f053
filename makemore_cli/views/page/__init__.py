"""Interactive pages: one HTML file with its scripts, styles and data inside."""
