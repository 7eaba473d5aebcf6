"""`python -m cli` in a checkout, `python -m attnlab_cli` once installed."""

from . import main

main()
