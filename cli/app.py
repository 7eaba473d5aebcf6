"""The `attnlab` command. No module here imports torch before a command runs, so that `--help` answers at once."""

import _thread
import errno
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from traceback import walk_tb
from typing import Any

import click

from attnlab import __version__
from attnlab.errors import UserError, printable, shortened, without_secrets

from .commands import COMMANDS, Commands, Imported

#: what makes a file unwritable that the user can mend, and how
MENDED = {errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.EROFS: "let its folder be written"}
SHORTLY = 0.05  # seconds after which a lost interrupt is repeated
THREAD_PATIENCE = 3.0  # seconds that threads of a model's own code have to end in


@click.group(
    cls=Commands,
    commands=Imported(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="attnlab")
def app() -> None:
    """What a classifier looks at, how an adversary moves that gaze, and how to train a model whose gaze holds."""


def _ignore_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _interrupted() -> int:
    """Print that the command was interrupted, whatever signals follow; return its exit code."""
    _ignore_signals()
    sys.unraisablehook = lambda _lost: None  # what an interrupt left half made fails as it is deleted
    click.echo("Interrupted.", err=True)
    return 130


def _interrupt_again(report: Callable[[Any], object], lost: Any) -> None:
    """Repeat an interrupt that Python lost, since it came where nothing can be raised; report anything else."""
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        report(lost)
        return
    again = threading.Timer(SHORTLY, _interrupt_main)
    again.daemon = True
    again.start()


def _interrupt_main() -> None:
    """Interrupt the main thread, also where it waits for the system: `interrupt_main` alone would let it wait on."""
    main_thread = threading.main_thread().ident
    if main_thread is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:  # Windows
        _thread.interrupt_main()


def _show_warning(shown: set[str], message: Warning | str, *_place: object) -> None:
    """Print a warning once, however often a command comes upon it."""
    text = printable(shortened(without_secrets(" ".join(str(message).splitlines()))))
    if text not in shown:
        shown.add(text)
        click.echo(f"Warning: {text}", err=True)


def main() -> None:
    """Run the command; 0: done, 1: an error the user can act on, 2: wrong usage, 130: interrupted."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed by the process that began this one
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    warnings.showwarning = partial(_show_warning, set())
    sys.unraisablehook = partial(_interrupt_again, sys.unraisablehook)
    before = threading.enumerate()
    codes: list[object] = []
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what clusters send before they kill is a Ctrl-C
    try:
        codes.append(_code_of_run())
        _ignore_signals()  # from here on nothing is left that they could end
    except KeyboardInterrupt:  # behind the command's end, where it changes nothing, or amid its last line
        _ignore_signals()
        codes = codes or [_interrupted()]
    _leave_threads(before, codes[0])
    if codes[0]:
        sys.exit(codes[0])  # type: ignore[arg-type]


def _code_of_run() -> object:
    """Run the command and return its exit code."""
    try:
        _run()
    except SystemExit as end:
        *_, (frame, _line) = walk_tb(end.__traceback__)  # in which it was raised
        if str(frame.f_globals.get("__name__")).partition(".")[0] in (__name__.partition(".")[0], "click"):
            return end.code
        _say("Error: the model's code called sys.exit, which ended the command before it was done")
        return 1
    return None


def _leave_threads(before: list[threading.Thread], code: object) -> None:
    """End the process where threads that a model's code started would keep it alive for ever; say which."""
    started = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    started = [
        thread for thread in started if "concurrent.futures" not in _module_of(thread)
    ]  # which end by themselves
    end = time.monotonic() + THREAD_PATIENCE
    for thread in started:
        thread.join(max(0.0, end - time.monotonic()))
    names = [thread.name for thread in started if thread.is_alive()]
    if names:
        _say(f"Warning: the model's code left threads running ({', '.join(names)}); the process ends without them")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(bool(code)))


def _module_of(thread: threading.Thread) -> str:
    """Module of a thread's code."""
    return getattr(getattr(thread, "_target", None), "__module__", None) or type(thread).__module__


def _run() -> None:
    """Run the command; what it raises becomes one line and an exit code."""
    try:
        app.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UserError as error:
        _fail(str(error))
    except EOFError as error:  # what a worker process that was killed leaves its parent with
        _fail_of_worker(error)
        raise
    except OSError as error:
        _fail_of_worker(error)
        if error.filename is None:  # it may be of standard output, which is flushed once more at exit
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # the reader of the output has seen enough, as `head` does
            sys.exit(1)
        mend = MENDED.get(error.errno or 0)
        hint = f"; finished parts are kept: {mend} and repeat the command to resume" if mend else ""
        _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}{hint}")
    except (KeyboardInterrupt, click.Abort):  # Abort is a RuntimeError
        sys.exit(_interrupted())
    except RuntimeError as error:
        _fail_of_worker(error)
        from torch._dynamo.exc import TorchDynamoException

        from attnlab.hooks import out_of_memory

        if isinstance(error, TorchDynamoException):
            reason = str(getattr(error, "inner_exception", error)).strip().splitlines()[0]
            _fail(f"torch.compile failed ({reason}); do without the option that asks for it, in another --out")
        if not out_of_memory(error):
            raise
        reason = str(error).splitlines()[0].partition(". ")[0]
        hint = "what is finished is kept: try a smaller --batch-size in another --out"
        _fail(f"too little memory ({reason}); {hint}")


def _fail_of_worker(error: BaseException) -> None:
    """Print which worker process was killed, where the error comes from one."""
    if "torch" in sys.modules or "concurrent.futures.process" in sys.modules:  # else there are none
        from attnlab.failures import is_lost_worker, lost_worker

        if is_lost_worker(error):
            _fail(lost_worker(error))


def _fail(message: str) -> None:
    _say(f"Error: {' '.join(message.splitlines())}")
    sys.exit(1)


def _say(line: str) -> None:
    click.echo(printable(shortened(without_secrets(line))), err=True)
