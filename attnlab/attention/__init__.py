"""Attention: methods that map what a classifier looks at, and the areas read off their maps."""
