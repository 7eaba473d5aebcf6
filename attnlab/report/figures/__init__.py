"""Figures from records and arrays, as PNG and PDF: those of the paper and some it lacks. Needs no model and no GPU."""
