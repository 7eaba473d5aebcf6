"""What mkdocs does here beside its configuration: reference pages from the code, and a navigation of what is there."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from attnlab.measures import MEASURES
from attnlab.registry import Lazy
from attnlab.report.tables import TABLES
from cli.app import app

ROOT = Path(__file__).resolve().parents[1]
COMMAND_LINE = "reference/command-line.md"
TABLES_PAGE = "reference/tables.md"
MEASURES_PAGE = "reference/measures.md"
API = "reference/api"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference pages, and put what is there into the navigation."""
    made = {COMMAND_LINE: command_line(), TABLES_PAGE: tables(), MEASURES_PAGE: measures(), **dict(api_pages())}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    pages = {file.src_uri for file in files.documentation_pages()}
    config.nav = there(config.nav or [], pages)
    return files


def there(nav: list[Any], pages: set[str]) -> list[Any]:
    """The navigation without pages that do not exist, `folder/*.md` replaced by the folder's pages."""
    kept: list[Any] = []
    for entry in nav:
        if isinstance(entry, str):
            folder = entry.removesuffix("*.md")
            mine = [page for page in pages if page == entry or (folder != entry and page.startswith(folder))]
            kept += sorted(mine, key=lambda page: Path(page).stem)
            continue
        ((title, target),) = entry.items()
        if isinstance(target, list):
            kept.append({title: there(target, pages)})
        elif target in pages:
            kept.append(entry)
    return kept


def api_pages() -> list[tuple[str, str]]:
    """A page for the package's own modules, and one for each package below it."""
    package = ROOT / "attnlab"
    rooms = [package, *sorted(path.parent for path in package.rglob("*/__init__.py"))]
    pages = []
    for room in rooms:
        name = ".".join(room.relative_to(ROOT).parts)
        modules = [f"{name}.{path.stem}" for path in sorted(room.glob("*.py")) if not path.stem.startswith("_")]
        itself = f"---\ntitle: {name}\n---\n\n::: {name}\n    options: {{heading_level: 1}}\n\n"
        pages.append((f"{API}/{name}.md", itself + "\n\n".join(f"::: {module}" for module in modules) + "\n"))
    return pages


def tables() -> str:
    """The reference of every table, from the catalogue."""
    parts = [
        "# Tables\n",
        "Each is left out where a run lacks what it needs; `eps`, `method` and `model` where there is one.\n",
    ]
    for name, spec in TABLES.items():
        needs = f", with {' and '.join(spec.needs)}" if spec.needs else ""
        asked = f" Made with `{spec.option}` or `--table {name}`." if spec.option else ""
        parts += [f"## {spec.heading}\n", f"{_plain(spec.title)}.\n"]
        parts += [f"`{name}.csv`, `{name}.tex` of runs of `attnlab {spec.kind}`{needs}.{asked}\n"]
        columns = [_row(column.name, column.words) for column in spec.columns]
        parts += ["| column | what it holds |", "|---|---|", *columns, ""]
    return "\n".join(parts)


def measures() -> str:
    """The reference of every measure, from their registry."""
    words = {
        "object": "With the object",
        "pair": "Between two maps",
        "map": "Of one map",
        "faithfulness": "Faithfulness",
    }
    parts = ["# Measures\n", "What they are of: [Measures of maps](../measures.md).\n"]
    for family, heading in words.items():
        parts += [f"## {heading}\n", "| measure | | range | better | chance | source |", "|---|---|---|---|---|---|"]
        for name, one in MEASURES.items():
            if one.family == family:
                ends = ["" if end is None else f"{end:g}" for end in (one.low, one.high)]
                lazy = isinstance(one.chance, Lazy)
                level = "of each mask or grid" if lazy else "" if one.chance is None else f"{one.chance:g}"
                cells = [one.formula, " to ".join(ends).strip(), one.better or "-", level, one.source]
                parts.append(f"| `{name}` | {' | '.join(_plain(cell).replace('|', '&#124;') for cell in cells)} |")
        parts.append("")
    return "\n".join(parts)


def command_line() -> str:
    """The reference of every command, from Click itself."""
    import click

    parts = [
        "# Command line\n",
        f"{app.help}\n",
        "Exit codes: 0 done; 1 an error that you can act on, told in one line; 2 wrong usage; 130 interrupted, what is "
        "finished is kept.\n",
    ]
    for name, command in app.commands.items():
        context = click.Context(command, info_name=f"attnlab {name}")
        parts += [f"## attnlab {name}\n", f"```text\n{command.get_usage(context)}\n```\n", _prose(command.help or "")]
        parts += ["| option | what it does |", "|---|---|"]
        parts += [_row(*record) for record in map(_record, command.params, [context] * len(command.params)) if record]
        parts.append("")
    return "\n".join(parts)


def _record(parameter: Any, context: Any) -> tuple[str, str] | None:
    """How a parameter is written, and its help, as `--help` shows them."""
    found = parameter.get_help_record(context)
    return found and (found[0], " ".join(found[1].split()))


def _row(written: str, told: str) -> str:
    written, told = (text.replace("|", "&#124;") for text in (written, _plain(told)))
    return f"| <code>{written}</code> | {told} |"


def _prose(text: str) -> str:
    """A command's help as Markdown: what stands behind a backspace keeps its lines."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.lstrip().startswith("\b"):
            lines = dedent(paragraph.split("\b", 1)[1].strip("\n"))
            parts.append(f"```text\n{lines}\n```")
        else:
            parts.append(_plain(" ".join(paragraph.split())))
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """Text whose stars and angle brackets are no markup."""
    return text.replace("*", "\\*").replace("<", "&lt;")
