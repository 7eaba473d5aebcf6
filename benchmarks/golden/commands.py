"""The commands of a recording, in the order in which they run, all in one folder, on the built-in data.

A recording keeps the words that it was made with, and `compare` runs those: an option may be renamed as long as its old
name still works. LIME gets its batch size, since the one found by trying differs from run to run.
"""

from dataclasses import dataclass
from shlex import split

#: written beside the runs: a user's own model
OWN_FILE = "net.py"
OWN_MODEL = """
from torch import nn

def build():
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 10),
    )
    network.input_size = (48, 48)
    network.mean, network.std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return network
"""


@dataclass(frozen=True)
class Command:
    """A command, and what `compare` does with the folder that the recorded version left.

    Attributes:
        line: What follows `attnlab`.
        code: The exit code it has to end with.
        folder: Folder of the run or training that it writes, or of the interrupted one that it shows.
        until: It is interrupted once a file of this pattern is there. `compare` resumes it, and does not run it anew.
        like: The folder of the same command without interruption, whose results it has to arrive at.
        lose: File that `compare` deletes from the recorded folder before it repeats the command.
        again: Whether `compare` deletes the recorded folder and runs the command that its run.json names.
    """

    line: str
    code: int = 0
    folder: str = ""
    until: str = ""
    like: str = ""
    lose: str = ""
    again: bool = False

    @property
    def words(self) -> list[str]:
        """What follows `attnlab`, word for word."""
        return split(self.line)

    @property
    def is_help(self) -> bool:
        """Whether it prints words alone, which may change on purpose."""
        return "--help" in self.words

    @property
    def needs_folders(self) -> bool:
        """Whether it may be repeated on the folders of a recording."""
        return self.words[0] != "list" and not self.is_help and self.code in (0, 130)


TRAIN = "train --limit 60 --held-out 40 --batch-size 20 --epochs"
LIME = "analyze --limit 10 --batch-size 4 --method grad-cam,lime --lime-superpixels slic --lime-samples 60 "
LIME += "--lime-batch-size 20 --workers 0 --features 4,8 --eps 8/255"

COMMANDS = [
    Command("analyze --limit 300 --eps 4/255,16/255 --out cam", folder="cam", lose="cam/records/part-00001.parquet"),
    Command(f"{LIME} --out lime", folder="lime", again=True),
    Command(f"{LIME} --out lime-cut", 130, "lime-cut", "lime-cut/records/part-00000.*unfinished", "lime"),
    Command("tables lime-cut --format csv", folder="lime-cut"),
    Command("report lime-cut --no-images", folder="lime-cut"),
    Command(
        "analyze --limit 4 --method lime --lime-superpixels quickshift --lime-hide mean --lime-segments shared "
        "--no-lime-floor --lime-gt box --lime-samples auto --lime-batch-size 50 --workers 0 --format csv --out shift",
        folder="shift",
    ),
    Command(
        "analyze --limit 20 --stratify --seed 3 --split test --attack pgd3 --restarts 2 --step-size 4/255 --eps 8/255 "
        "--label-smoothing 0.1 --target predicted --resize crop --layer stage2 --batch-size 7 --out pgd",
        folder="pgd",
    ),
    Command(
        "analyze --limit 12 --attack iter-stepll3+a3 --sigma 5 --precision fp64 --memory-format contiguous "
        "--format json --out a3",
        folder="a3",
    ),
    Command(
        "analyze --limit 12 --precision bf16 --memory-format channels-last --format markdown --out bf16", folder="bf16"
    ),
    Command("analyze --limit 8 --model net.py:build --weights none --seed 2 --attack fgsm --out own", folder="own"),
    Command(f"{TRAIN} 2 --defense none --out plain", folder="plain"),
    Command(f"{TRAIN} 2 --defense madry+aad --steps 2 --snapshots --out aad", folder="aad"),
    Command(
        f"{TRAIN} 2 --defense madry+aad --steps 2 --snapshots --out aad-cut",
        130,
        "aad-cut",
        "aad-cut/state.safetensors",
        "aad",
    ),
    Command(f"{TRAIN} 1 --defense alp+aad --steps 1 --fill grey --classification soft-margin --out alp", folder="alp"),
    Command(f"{TRAIN} 1 --defense trades --steps 1 --augment crop-flip --optimizer sgd --out trades", folder="trades"),
    Command(f"{TRAIN} 1 --defense mart --steps 1 --precision bf16 --out mart", folder="mart"),
    Command(f"{TRAIN} 1 --defense stepll --schedule constant --out stepll", folder="stepll"),
    Command(f"{TRAIN} 1 --defense ensemble+aad --steps 1 --sources plain --out ensemble", folder="ensemble"),
    Command(f"{TRAIN} 2 --defense madry --steps 1 --model net.py:build --out mine", folder="mine"),
    Command(
        "sweep --limit 20 --held-out 20 --batch-size 10 --epochs 1 --steps 1 --alphas 0,0.1 --betas 0.01 --out sweep",
    ),
    Command(
        "evaluate --limit 24 --model plain --model aad --eps 8/255 --step-size 4/255 --restarts 2 --seed 1 "
        "--attacks clean,fgsm,stepll,pgd2,pgd4,pgd4+a3,cw3,iter-stepll3,iter-stepll3+a3 --out defended",
        folder="defended",
        again=True,
    ),
    Command("evaluate --limit 4 --attacks clean,pgd5,square,autoattack --eps 8/255 --out strong", folder="strong"),
    Command("evaluate --limit 8 --transfer aad --attacks clean,pgd3 --out transfer", folder="transfer"),
    Command("evaluate --limit 8 --stop --attacks clean,pgd3 --no-check --out stop", folder="stop"),
    Command(
        "evaluate --limit 8 --model mine --trust-code --attacks clean,pgd2 --format latex --out code",
        folder="code",
        again=True,
    ),
    Command("attack --attack pgd3+a3 --eps 8/255 --limit 4 --out adversarial", folder="adversarial"),
    Command("tables cam --cells 3,7 --controls"),
    *(
        Command(f"tables lime --controls --lime-gt box --format {name}")
        for name in ("csv", "latex", "markdown", "json")
    ),
    *(Command(f"tables defended --format {name}") for name in ("csv", "latex", "markdown", "json")),
    Command("figures cam --only figure1,iou-distributions,success-against-iou,iou-against-eps"),
    Command("figures lime --only figure1,figure3,figure13 --overlays --grid"),
    Command("figures defended"),
    Command("figures sweep"),
    Command("figures aad --limit 12 --steps 3"),
    Command("figures plain aad --limit 12 --steps 3 --out models"),
    Command("report lime"),
    Command("report pgd --no-images"),
    Command("report defended"),
    Command("list"),
    Command("list attacks"),
    Command("analyze --attack pdg", 1),
    Command("analyze --eps 8", 1),
    Command("evaluate --attacks clean,pgd --model nowhere", 1),
    Command("tables nowhere", 1),
    Command("tables cam --form csv --unknown", 2),
    *(
        Command(f"{name} --help".strip())
        for name in (
            "",
            "analyze",
            "train",
            "sweep",
            "evaluate",
            "attack",
            "tables",
            "figures",
            "report",
            "list",
            "doctor",
        )
    ),
]
