"""Sections of pages that a benchmark writes, between marks that name it."""

from pathlib import Path

from attnlab.files import write_whole

END = "<!-- end -->"


def begin(benchmark: str) -> str:
    """The mark before the section of a benchmark, such as `benchmarks.bench`."""
    return f"<!-- begin: made by {benchmark} -->"


def write_section(page: Path, benchmark: str, text: str) -> None:
    """Put the text between the marks of a page; a page without them gets them at its end."""
    before = page.read_text() if page.exists() else f"# {page.stem}\n"
    head, _, rest = before.partition(begin(benchmark))
    after = rest.partition(END)[2] or "\n"
    write_whole(page, f"{head.rstrip()}\n\n{begin(benchmark)}\n\n{text}\n\n{END}{after}".encode())
