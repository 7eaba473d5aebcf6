"""The `attnlab` command. No module here imports torch before a command runs, so that `--help` answers at once."""

import errno
import sys

import click

from attnlab import __version__
from attnlab.errors import UserError

from .analyze import analyze
from .listing import list_names
from .tables import tables


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="attnlab")
def app() -> None:
    """What a classifier looks at, how an adversary moves that gaze, and how to train a model whose gaze holds."""


for command in (analyze, tables, list_names):
    app.add_command(command)


def main() -> None:
    """Run the command; 0: done, 1: an error the user can act on, 2: wrong usage, 130: interrupted."""
    try:
        app.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        _fail(f"{error.strerror}{f': {error.filename}' if error.filename else ''}; what was finished is kept")
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        sys.exit(130)


def _fail(message: str) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)
