"""Networks that misbehave, always or at times, in the commands that run one."""

import json
import re
from pathlib import Path
from random import Random
from shlex import split

from endurance.cases import ACCEPTED, REFUSED
from endurance.command import attnlab

#: fault -> what is done to the logits `y` of pixels `x`, a statement
FAULTS = {
    "none": "pass",
    "nan": "y = y * float('nan')",
    "one nan": "y = y + torch.where(torch.arange(10) == 3, float('nan'), 0.0)",
    "inf": "y = y / 0.0",
    "huge": "y = y * 1e38",
    "too many classes": "y = torch.cat([y, y], 1)",
    "too few classes": "y = y[:, :3]",
    "no class": "y = y[:, :0]",
    "another shape": "y = y[..., None, None]",
    "flat": "y = y.flatten()",
    "first image alone": "y = y[:1]",
    "no image": "y = y[:0]",
    "list": "y = [y, y]",
    "nothing": "y = None",
    "text": "y = 'logits'",
    "number": "y = 3.0",
    "numpy": "y = y.detach().numpy()",
    "half": "y = y.half()",
    "double": "y = y.double()",
    "whole numbers": "y = y.long()",
    "complex": "y = y.to(torch.complex64)",
    "without gradient": "y = y.detach()",
    "random": "y = torch.randn_like(y)",
    "constant": "y = y * 0 + 1",
    "equal in part": "y = y.round()",
    "in place": "x.mul_(0.5)",
    "zeroed in place": "x.zero_()",
    "reversed": "y = y.flip(0)",
    "runtime error": "raise RuntimeError('a\\nb')",
    "value error": "raise ValueError",
    "key error": "raise KeyError('x' * 5000)",
    "assertion": "assert False",
    "division": "1 / 0",
    "stop": "raise StopIteration",
    "recursion": "self.forward(x)",
    "not there": "raise FileNotFoundError('gone')",
    "own error": "raise type('Odd', (Exception,), {})('odd \\x1b[31m')",
    "exit": "raise SystemExit(3)",
    "warning": "import warnings; warnings.warn('w\\n' * 50)",
    "train mode": "self.train()",
    "other weights": "self.head.weight.data.add_(0.1)",
    "sparse": "y = y.to_sparse()",
}
#: when it happens
TIMES = {
    "always": "True",
    "later": "self.calls > 4",
    "of three or more images": "len(x) > 2",
    "of bright images": "bool(x.mean() > 0.5)",
    "with gradients": "torch.is_grad_enabled()",
    "without gradients": "not torch.is_grad_enabled()",
    "in train mode": "self.training",
    "of grey levels": "bool((x * 255 - (x * 255).round()).abs().max() > 1e-3)",
}
NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    input_size, mean, std = (16, 16), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    calls = 0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(3, 6, 3, 2)
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        self.calls += 1
        y = self.head(self.body(x).relu().mean((2, 3)))
        if {time}:
            {fault}
        return y
"""
FEW = split("--limit 5 --batch-size 3 --workers 0 --device cpu --out out --model net.py:Net")
COMMANDS = (
    ["analyze", "--split", "val"],
    ["analyze", "--split", "val", "--method", "lime", "--lime-samples", "10", "--lime-superpixels", "grid"],
    ["analyze", "--split", "val", "--method", "grad-cam++,score-cam", "--attack", "pgd2"],
    ["evaluate", "--attacks", "clean,fgsm,pgd2+a3"],
    ["evaluate", "--attacks", "clean,square", "--steps", "3", "--no-check"],
    ["attack", "--attack", "pgd2"],
    ["train", "--held-out", "2", "--epochs", "1", "--steps", "1", "--weights", "none"],
    ["models"],
)
#: faults whose tables would be wrong numbers, where they come always and nothing is said
TO_BE_SAID = {"nan", "inf", "one nan", "random", "constant", "reversed", "in place", "zeroed in place", "other weights"}


def network_case(draw: Random, folder: Path) -> str:
    """Run a command on a network with a fault; it ends in one line, or says what it saw of the network."""
    fault, time = draw.choice(list(FAULTS)), draw.choice(["always", *TIMES])
    (folder / "net.py").write_text(NETWORK.format(time=TIMES[time], fault=FAULTS[fault]))
    words = draw.choice(COMMANDS)
    printed = attnlab(folder, [*words, "net.py:Net"] if words == ["models"] else [*words, *FEW])
    if printed.code:
        return REFUSED
    what = f"{fault}, {time}: {' '.join(words)}"
    checks = folder / "out/checks.csv"
    said = printed.err + (checks.read_text() if checks.exists() else "")
    if time == "always" and fault in TO_BE_SAID and words[0] in ("analyze", "evaluate", "attack"):
        assert re.search("Warning|network|model|logit", said), f"nothing is said of {what}"
    if words[0] in ("analyze", "evaluate"):
        tables = attnlab(folder, ["tables", "out", "--format", "json"])
        json.loads(tables.out, parse_constant=lambda name: _fail(f"{name} in the tables of {what}"))
    return ACCEPTED


def _fail(text: str) -> None:
    raise AssertionError(text)
