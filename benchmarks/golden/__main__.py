"""`python -m benchmarks.golden`."""

from . import main

main()
