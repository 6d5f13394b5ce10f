"""Plain modules, ours and published."""
