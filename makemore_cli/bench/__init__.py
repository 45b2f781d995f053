"""Speed measurements. All figures of one table come from one run."""
