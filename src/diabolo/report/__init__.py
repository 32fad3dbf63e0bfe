"""The report of a run: its figures as files, and one self-contained HTML page."""
