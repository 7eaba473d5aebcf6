"""LaTeX of every table: compiled in one and two columns, with nothing that sticks out."""

import re
import shutil
import subprocess
from itertools import product

import pandas as pd
import pytest

from attnlab.report.tables import TABLES
from attnlab.report.tables.controls import MEASURES
from attnlab.report.tables.export import Report
from attnlab.report.tables.formats import latex_of, latex_table

ATTACKS = ("clean", "fgsm", *(f"{name}{steps}" for name in ("pgd", "cw") for steps in (10, 20, 40, 100)))
INTERVAL = {"ci_low": 0.123, "ci_high": 0.456}
PAPER = {"paper_percent": 1.0, "paper_iou_att_gt": 0.1}
SHARES = [{"group": group, "n": 300, "percent": 63.7} for group in ("succeed", "fail")]
#: table -> its frame as a run of one eps gives it
FRAMES = {
    "table1": [{**row, "iou_att_gt": 0.345, **INTERVAL, **PAPER} for row in SHARES],
    "table2": [{**row, "confidence": 0.345, **INTERVAL, "paper_percent": 1.0, "paper_confidence": 0.1}
        for row in SHARES],
    **{
        name: [
            {size: number, "group": group, "n": 300, column: 0.345, **INTERVAL, "paper": 0.2}
            for number, group in product((5, 30), ("succeed", "fail"))
        ]
        for name, size, column in [
            ("table3", "cells", "iou_ori_adv"),
            ("table4", "features", "iou_att_gt"),
            ("table4_adversarial", "features", "iou_att_gt"),
            ("table5", "features", "iou_ori_adv"),
            ("noise_floor", "features", "iou_two_seeds"),
        ]
    },
    "controls": [
        {"measure": measure, "n_succeed": 300, "succeed": 0.5, "n_fail": 30, "fail": 0.6, "difference": 0.1, **INTERVAL}
        for measure in MEASURES
    ],
    **{
        name: [
            {"dataset": "imagenet", "model": model, "defense": "madry+aad", "attack": attack, "n": 10000,
             "accuracy": 100.0, "ci_low": 99.11, "ci_high": 100.0, "paper": 95.69}
            for model, attack in product(("resnet50", "madry-aad-1"), ATTACKS)
        ]
        for name in ("table6", "table6_worst")
    },
    "table7": [
        {"attack": attack, "n": 38245, "accuracy": 12.34, "ci_low": 12.0, "ci_high": 13.0, "paper": 12.3}
        for attack in ("iter-stepll", "iter-stepll+a3", "pgd", "pgd+a3")
    ],
    "paired": [
        {"attack": "iter-stepll100+a3", "first": "resnet50", "second": "madry-aad-1", "n": 10000, "only_first": 1000,
         "only_second": 2000, "difference": -10.0, "p": 1.2e-16}
    ],
    "measures": [
        {"measure": "max-sensitivity", "images": images, "group": group, "n": 300, "mean": 0.345, **INTERVAL,
         "chance": 0.5}
        for images, group in product(("clean", "attacked"), ("succeed", "fail"))
    ],
    "targeted": [
        {"model": "madry-aad-1", "defense": "madry+aad", "attack": "iter-stepll100", "target": "the least likely",
         "n": 10000, "success": 100.0, "ci_low": 99.11, "ci_high": 100.0, "any_point": 100.0}
    ],
    "corruptions": [
        {"model": "madry-aad-1", "defense": "madry+aad", "corruption": "elastic-transform",
         "severities": "1, 2, 3, 4, 5", "n": 10000, "mean": 100.0, "ci_low": 99.11, "ci_high": 100.0}
    ],
    "gaze": [
        {"model": "madry-aad-1", "defense": "madry+aad", "attack": "keep-map100", "prediction": "changed",
         "measure": "IoU of 10 cells", "of": 10000, "n": 9999, "mean": 0.123, "ci_low": 0.1, "ci_high": 0.2}
    ],
}  # fmt: skip


def like(name: str) -> list[dict]:
    """Rows of the first table of the same layout, under this one's name for the mean."""
    spec = TABLES[name]
    other = next(one for one in FRAMES if TABLES[one].layout == spec.layout)
    names = {TABLES[other].mean.name: spec.mean.name, f"paper_{TABLES[other].mean.name}": f"paper_{spec.mean.name}"}
    return [{names.get(column, column): value for column, value in row.items()} for row in FRAMES[other]]


def report_of(several: bool) -> Report:
    """Every table there is, of a run of one eps or of several."""
    frames = {name: pd.DataFrame(FRAMES.get(name) or like(name)) for name in TABLES}
    if several:
        for name in (name for name, spec in TABLES.items() if spec.column("eps")):
            parts = [frames[name].assign(eps=eps) for eps in (4 / 255, 16 / 255)]
            whole = pd.concat(parts, ignore_index=True)
            frames[name] = whole[["eps", *(column for column in whole if column != "eps")]]
    captions = {name: f"{spec.title}. 50%_net, imagenet val, n < 300" for name, spec in TABLES.items()}
    return Report([], captions, frames)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
@pytest.mark.parametrize("options", ["", "twocolumn"])
def test_every_table_compiles_without_a_box_that_sticks_out(tmp_path, options):
    tables = (
        latex_of(report_of(several=False))
        + "\\clearpage\n"
        + latex_of(report_of(several=True)).replace("{tab:", "{eps:")
    )
    text = "\n".join(
        [f"\\documentclass[{options}]{{article}}", r"\usepackage{booktabs}", r"\begin{document}", "Text.", tables,
         r"\end{document}", ""]
    )  # fmt: skip
    (tmp_path / "paper.tex").write_text(text)
    call = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    if "booktabs.sty' not found" in done.stdout:
        pytest.skip("no booktabs here")
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert re.findall(r"Overfull .*", log) == []
    assert "multiply defined" not in log


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", list(TABLES))
def test_a_table_has_a_label_a_short_caption_and_its_source_in_a_comment(name, several):
    report = report_of(several)
    text = latex_table(report, name)
    comment = " ".join(line.removeprefix("% ") for line in text.splitlines() if line.startswith("%"))
    assert comment == rf"needs \usepackage{{booktabs}}. {report.captions[name]}"
    assert rf"\label{{tab:{name}}}" in text
    (caption,) = re.findall(r"\\caption\{(.*)\}\n", text)
    assert "imagenet" not in caption
    assert not set("<>|") & set(re.sub(r"\$[^$]*\$", "", caption))


def test_table_2_says_less_than_and_what_its_groups_are():
    text = latex_table(report_of(several=False), "table2")
    assert (
        r"\caption{Percentage and average confidence of the images with IoU $<$ 0.5. $\mathcal{I}_{succeed}$: the "
        r"attack changes the prediction; $\mathcal{I}_{fail}$: it does not}" in text
    )


def test_a_table_that_is_wider_than_a_column_spans_the_page():
    assert r"\begin{table*}" in latex_table(report_of(several=False), "table6")
    assert "\\begin{table}\n" in latex_table(report_of(several=False), "table1")
