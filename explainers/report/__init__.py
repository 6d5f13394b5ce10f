"""One self-contained HTML file that shows what a run folder holds, to look at instead of reading tables."""
