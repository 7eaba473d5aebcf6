"""Reports: tables from records, with intervals, as CSV, LaTeX and text. Needs no model and no GPU."""
