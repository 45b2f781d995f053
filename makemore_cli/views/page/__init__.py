"""Pages that are alive: one HTML file with its scripts, styles and data inside."""
