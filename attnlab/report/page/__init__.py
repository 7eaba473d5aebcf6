"""A run as one HTML page that opens offline: from records, and pictures where there are any. Needs no model."""
