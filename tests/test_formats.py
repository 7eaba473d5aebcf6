"""Tables on the console, in the paper's layout, and as csv, json, markdown and LaTeX for pipes."""

import io
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from common import tables_of

from attnlab.report.tables import BOXES, MAPS, TABLES
from attnlab.report.tables.export import write_tables
from attnlab.report.tables.formats import FORMATS
from attnlab.report.tables.layout import Layout, Value, plain
from attnlab_cli.console import show_layout

#: tables of the run, which has maps, boxes and no LIME
NAMES = tables_of("analyze", MAPS, BOXES)


@pytest.fixture
def finished(run, tmp_path) -> Path:
    """A copy of the finished run of 200 scenes at two budgets."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def lines_below(text: str, title: str) -> list[list[str]]:
    """Cells of a printed table's lines; two spaces or more lie between two cells."""
    table = text[text.index(f"{title}: ") :].split("\n\n")[0]
    body = re.split(r"\n *─+ *(?=\n|$)", table)[2].strip()
    return [re.split(r" {2,}", line.strip()) for line in body.splitlines()]


def test_table_1_is_printed_as_the_paper_sets_it_with_n_and_intervals(attnlab, finished):
    out = attnlab("tables", finished).out
    frame = write_tables(finished).frames["table1"]
    printed = lines_below(out, "table1")
    assert [line[0] for line in printed] == ["4/255", "16/255"]
    for line, (_, rows) in zip(printed, frame.groupby("eps"), strict=True):
        cells = []
        for row in rows.itertuples():
            interval = f"[{row.ci_low:.3f}, {row.ci_high:.3f}]"
            cells += [str(row.n), f"{row.percent:.1f}%", f"{row.iou_att_gt:.3f} {interval}"]
        assert line[1:] == cells


def test_table_3_is_printed_with_a_line_for_each_number_of_cells(attnlab, finished):
    printed = lines_below(attnlab("tables", finished, "--cells", "3,7").out, "table3")
    assert [line[:2] for line in printed] == [["4/255", "3"], ["4/255", "7"], ["16/255", "3"], ["16/255", "7"]]
    assert {len(line) for line in printed} == {6}


def test_the_papers_values_stand_below_in_table_1_and_beside_in_table_3():
    one = pd.DataFrame(
        [
            ["succeed", 3, 75.0, 0.5, 0.4, 0.6, 74.1, 0.647],
            ["fail", 1, 25.0, 0.7, None, None, 25.9, 0.701],
        ],
        columns=["group", "n", "percent", "iou_att_gt", "ci_low", "ci_high", "paper_percent", "paper_iou_att_gt"],
    )
    layout = TABLES["table1"].lay_out(one, "full")
    assert [[str(cell) for cell in line] for line in layout.lines] == [
        ["3", "75.0%", "0.500 [0.400, 0.600]", "1", "25.0%", "0.700"],
        ["", "74.1%", "0.647", "", "25.9%", "0.701"],
    ]
    three = pd.DataFrame(
        [[5, "succeed", 3, 0.4, 0.3, 0.5, 0.393], [5, "fail", 0, None, None, None, 0.574]],
        columns=["cells", "group", "n", "iou_ori_adv", "ci_low", "ci_high", "paper"],
    )
    layout = TABLES["table3"].lay_out(three)
    assert layout.heads == ["IoU_ori_adv", "paper"] * 2
    assert [[str(cell) for cell in line] for line in layout.lines] == [
        ["5", "0.400 [0.300, 0.500]", "0.393", "--", "0.574"]
    ]


def test_groups_are_headed_by_the_rows_names_and_without_rows_by_those_of_the_paper():
    columns = ["cells", "group", "n", "iou_ori_adv", "ci_low", "ci_high", "paper"]
    rows = [[5, "reached", 3, 0.4, 0.3, 0.5, None], [5, "missed", 1, 0.6, None, None, None]]
    groups = [TABLES["table3"].lay_out(pd.DataFrame(some, columns=columns)).groups for some in (rows, [])]
    assert groups == [["I_reached", "I_missed"], ["I_succeed", "I_fail"]]


def test_no_number_is_cut_where_the_table_is_wider_than_the_page(capsys):
    heads = [f"attack-number-{number}" for number in range(20)]
    show_layout(Layout(["Model"], [], heads, [["net", *[Value(12.34, 2)] * 20]]), "wide")
    out = capsys.readouterr().out
    assert out.count("12.34") == 20
    assert all(head in out for head in heads)


@pytest.mark.parametrize("columns", [["attack"], ["model", "attack"], ["dataset", "model", "defense", "attack"]])
def test_accuracies_of_no_image_at_all_are_a_table_without_lines(capsys, columns):
    empty = pd.DataFrame(columns=[*columns, "n", "accuracy", "ci_low", "ci_high", "paper"])
    layout = TABLES["table7"].lay_out(empty, "full")
    assert layout.lines == []
    show_layout(layout, "table7: of nothing")
    assert "of nothing" in capsys.readouterr().out


def test_names_with_brackets_are_printed_as_they_are(capsys):
    show_layout(Layout(["Model"], [], ["n"], [["[bold]net[/bold]", Value(3, 0)]]), "[red]title[/red]")
    out = capsys.readouterr().out
    assert "[bold]net[/bold]" in out
    assert "[red]title[/red]" in out


def test_small_weights_of_a_sweep_are_not_rounded_away():
    layout = plain(pd.DataFrame({"alpha": [0.001], "epoch": [3], "clean": [90.123], "p": [0.000012]}))
    assert [str(cell) for cell in layout.lines[0]] == ["0.001", "3", "90.12", "1.2e-05"]


# ------------------------------------------------------------------ formats


def test_json_is_one_object_of_name_to_rows(attnlab, finished):
    done = attnlab("tables", finished, "--format", "json")
    assert done.code == 0
    tables = json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(tables) == NAMES
    for name, rows in tables.items():
        frame = pd.read_csv(finished / f"tables/{name}.csv", float_precision="round_trip")
        pd.testing.assert_frame_equal(pd.DataFrame(rows), frame, check_dtype=False, check_exact=True)
    assert tables["table1"][0]["paper_percent"] is None


def test_csv_of_several_tables_has_their_names_above_and_empty_lines_between(attnlab, finished):
    parts = attnlab("tables", finished, "--format", "csv").out.split("\n\n")
    assert [part.splitlines()[0] for part in parts] == [f"# {name}" for name in NAMES]
    for name, part in zip(NAMES, parts, strict=True):
        mine = pd.read_csv(io.StringIO(part), comment="#")
        pd.testing.assert_frame_equal(mine, pd.read_csv(finished / f"tables/{name}.csv"))


def test_one_chosen_table_as_csv_is_its_file_and_nothing_else(attnlab, finished):
    done = attnlab("tables", finished, "--format", "csv", "--table", "table3")
    assert done.out == (finished / "tables/table3.csv").read_text()
    assert "200 of 200 images recorded" in done.err
    assert "table1.csv, table1.tex" in done.err  # all are written


def test_chosen_tables_come_in_the_order_asked_for(attnlab, finished):
    done = attnlab("tables", finished, "--format", "json", "--table", "table3", "--table", "table1")
    assert list(json.loads(done.out)) == ["table3", "table1"]
    printed = attnlab("tables", finished, "--table", "table2").out
    assert "table2: " in printed
    assert "table1: " not in printed


def test_a_table_that_the_run_lacks_is_one_line_with_those_it_has(attnlab, finished):
    assert attnlab("tables", finished, "--table", "paired").error == (
        f"expected --table to be one of {', '.join(NAMES)}, got 'paired'"
    )


def test_an_unknown_table_is_refused_before_records_are_read(attnlab):
    assert attnlab("tables", "nowhere", "--table", "tabel3").error == (
        f"expected --table to be one of {', '.join(TABLES)}, got 'tabel3'; did you mean 'table3'?"
    )


def test_latex_is_what_the_files_hold(attnlab, finished):
    out = attnlab("tables", finished, "--format", "latex").out
    assert out == "\n".join((finished / f"tables/{name}.tex").read_text() for name in NAMES)


def test_markdown_has_as_many_cells_in_each_line_and_escapes_bars(finished):
    report = write_tables(finished)
    out = FORMATS["markdown"](report)
    for name in NAMES:
        rows = out[out.index(f"**{name}**") :].split("\n\n")[1].splitlines()
        columns = TABLES[name].lay_out(report.frames[name], "full").columns()
        assert {row.count("|") for row in rows} == {len(columns) + 1}
    paired = pd.DataFrame({"attack": ["a|b"], "n": [3]})
    renamed = report._replace(frames={"paired": paired}, captions={"paired": "Pairs"})
    assert FORMATS["markdown"](renamed) == "**paired**: Pairs\n\n| attack | n |\n| --- | ---: |\n| a\\|b | 3 |\n"


@pytest.mark.parametrize("form", list(FORMATS))
def test_analyze_and_evaluate_in_a_format_leave_standard_output_to_the_tables(attnlab, form):
    words = ["--limit", 4, "--workers", 0, "--format", form]
    done = attnlab("analyze", *words, "--out", "a")
    assert done.out == attnlab("tables", "a", "--format", form).out
    assert "4 of 4 images recorded" in done.err
    evaluated = attnlab("evaluate", *words, "--attacks", "clean,fgsm", "--no-check", "--out", "e")
    assert evaluated.out == attnlab("tables", "e", "--format", form).out
    assert "e/tables: table6.csv" in evaluated.err


def test_the_choices_of_the_command_line_are_the_formats_there_are(attnlab):
    done = attnlab("tables", "nowhere", "--format", "word")
    assert done.code == 2
    assert all(f"'{name}'" in done.err for name in FORMATS)


def test_the_title_alone_stands_above_a_table_and_its_setting_below(capsys):
    show_layout(Layout(["Model"], [], ["n"], [["net", Value(3, 0)]]), "table6: title", "what it depends on")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "table6: title"
    assert lines.index("what it depends on") > max(number for number, line in enumerate(lines) if "net" in line)
