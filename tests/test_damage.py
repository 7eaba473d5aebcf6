"""Run folders whose files were changed since: named in one line, never other numbers in silence."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from common import begun_run, error_of, pieces_of
from evaluations import manifest as described
from evaluations import rows, write

from attnlab.errors import UserError
from attnlab.records import read_evaluation, read_records
from attnlab.report.figures.run import draw_run
from attnlab.report.tables.export import make_tables
from attnlab.runs import Run
from attnlab.schema import ADVERSARIAL, ATTENTION

ROWS = [
    {
        "image_id": f"image {number}",
        "label": number % 2,
        "prediction": 0,
        "confidence": 0.5 + number / 100,
        "boxes": [[0, 0, 2, 3]],
        "dropped_boxes": 0,
        "box_share": 1.0,
        "maps": [{"values": [0.1 * number, 0.2, 0.3, 0.4], "iou_att_gt": 0.25 * (number % 4)}],
        "adversarial": [
            {
                "prediction": number % 2,
                "confidence": 0.2,
                "maps": [{"values": [0.4, 0.2, 0.3, 0.1 * number], "iou_att_gt": 0.1, "shared_cells": [0, 1, 2, 4]}],
            }
        ],
    }
    for number in range(6)
]


@pytest.fixture
def small_run(tmp_path) -> Path:
    run = begun_run(tmp_path / "run")
    run.write_part(0, ROWS)
    run.finish(1.0)
    return run.folder


PART = "records/part-00000.parquet"


def found(call: Callable[[], object]) -> object:
    """What a call gives, or the line of its error."""
    try:
        return call()
    except UserError as error:
        return str(error)


def test_records_of_a_version_without_a_column_have_none_there(tmp_path):
    """Columns of an image, and of what an attack did to it, in a whole part and in one that is not."""
    run = begun_run(tmp_path / "run")
    inner = pa.struct([one for one in ADVERSARIAL if one.name not in ("confidence", "lime")])
    kept = [one.with_type(pa.list_(inner)) if one.name == "adversarial" else one for one in ATTENTION]
    older = Run(run.folder, pa.schema([one for one in kept if one.name not in ("box_share", "lime_again")]))
    older.write_part(0, ROWS[:3])
    older.append(1, ROWS[3:])
    table = run.table()
    assert table.schema.names == ATTENTION.names
    assert table["adversarial"].type == ATTENTION.field("adversarial").type
    told_of = table.to_pylist()
    assert [row["confidence"] for row in told_of] == pytest.approx([row["confidence"] for row in ROWS])
    assert {row["box_share"] for row in told_of} == {None}
    assert [row["adversarial"][0]["maps"][0]["shared_cells"] for row in told_of] == [[0, 1, 2, 4]] * len(ROWS)
    assert {row["adversarial"][0]["confidence"] for row in told_of} == {None}


def test_every_flipped_bit_of_a_part_is_named_or_harmless(small_run):
    path, run = small_run / PART, Run(small_run)
    content, whole = path.read_bytes(), run.table()
    draw = random.Random(0)
    # where a reader with page checksums alone was found to give other numbers: in a page's head, and in the footer
    places = [draw.randrange(8 * len(content)) for _ in range(300)] + [8 * len(content) - 1 - n for n in range(64)]
    named = 0
    for place in places:
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        table = found(run.table)
        if isinstance(table, str):
            named += 1
            assert table.startswith(f"{path} is a damaged part (")
            assert table.endswith("; delete it and repeat the call that made the run to make its images again")
        else:
            assert table.equals(whole)
    assert named > 350


def test_pages_carry_checksums_that_any_reader_can_check(small_run):
    content = bytearray((small_run / PART).read_bytes())
    column = pq.ParquetFile(small_run / PART).metadata.row_group(0).column(4)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start + column.total_compressed_size - 1] ^= 1
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(pa.BufferReader(content), page_checksum_verification=True)


def test_every_flipped_bit_of_an_unfinished_part_costs_images_but_no_number(tmp_path):
    run = begun_run(tmp_path / "run")
    for row in ROWS:
        run.append(0, [row])
    path = pieces_of(tmp_path / "run")
    content, whole = path.read_bytes(), run.table()
    draw = random.Random(1)
    for _ in range(300):
        place = draw.randrange(8 * len(content))
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        kept = found(run.table)
        if isinstance(kept, str):
            assert kept.endswith("holds no records yet")  # the first piece was hit
        else:
            assert kept.equals(whole.slice(0, len(kept)))


def test_a_damaged_piece_is_told_and_made_again(tmp_path):
    run = begun_run(tmp_path / "run")
    for row in ROWS[:2]:
        run.append(0, [row])
    path = pieces_of(tmp_path / "run")
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"part-00000\.\w+\.unfinished is damaged behind its first \d+ bytes"):
        assert [row["image_id"] for row in run.unfinished(0)] == ["image 0"]


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_columns(path: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a"], "skipped": ["b"]}), path)


def other_type(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS, schema=ATTENTION)
    at = ATTENTION.get_field_index("confidence")
    pq.write_table(table.set_column(at, "confidence", pa.array(["high"] * len(ROWS))), path)


def of_another_run(path: Path) -> None:
    other = begun_run(path.parent / "other")
    other.write_manifest({**other.manifest, "data": {**other.manifest["data"], "sha256": "0"}})
    other.write_part(0, ROWS)
    path.write_bytes((other.folder / PART).read_bytes())


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (make_folder, "expected a file, got a folder"),
        (lambda path: path.write_bytes(b""), "Parquet file size is 0 bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), ""),
        (lambda path: path.write_text("<html>404</html>"), "Parquet magic bytes not found"),
        (other_columns, "it has no column label"),
        (other_type, "its column confidence is of another kind"),
        (of_another_run, "it belongs to another run"),
    ],
)
def test_a_part_that_is_none_is_named_with_the_command_that_makes_it_again(small_run, damage, reason):
    manifest = json.loads((small_run / "run.json").read_text())
    (small_run / "run.json").write_text(json.dumps({**manifest, "command": "attnlab analyze --limit 6"}))
    damage(small_run / PART)
    for call in (read_records, make_tables):
        message = error_of(call, Run(small_run) if call is make_tables else small_run)
        assert message.startswith(f"{small_run / PART} is a damaged part ({reason}")
        assert message.endswith("; delete it and repeat `attnlab analyze --limit 6` to make its images again")


def test_a_part_under_another_ones_name_is_named(small_run):
    shutil.copy(small_run / PART, small_run / "records/part-00001.parquet")
    assert "part-00001.parquet is a damaged part (it is part 0 of the run)" in error_of(read_records, small_run)


def test_an_image_that_two_old_parts_hold_is_named(small_run):
    table = pa.Table.from_pylist(ROWS, schema=ATTENTION)
    for number in (0, 1):  # as written before parts said whose they are
        pq.write_table(table, Run(small_run).part(number))
    assert error_of(read_records, small_run).endswith("is damaged: its records hold image 'image 0' 2 times")


@pytest.mark.parametrize("budgets", [[], [0.1, 0.2], [0.1, 0.2, 0.3]])
def test_records_of_another_number_of_eps_than_the_manifest_names_are_told(small_run, budgets):
    table = pa.Table.from_pylist(ROWS, schema=ATTENTION)
    pq.write_table(table, small_run / PART)  # as written before parts said whose they are
    manifest = json.loads((small_run / "run.json").read_text())
    manifest["options"]["eps"] = budgets
    (small_run / "run.json").write_text(json.dumps(manifest))
    assert error_of(read_records, small_run) == (
        f"{small_run} is damaged: its records are not of as many eps as its run.json names"
    )


def test_parts_without_checksums_and_of_fewer_columns_stay_readable(small_run):
    table = pa.Table.from_pylist(ROWS, schema=ATTENTION).drop_columns(["lime_again"])
    pq.write_table(table, small_run / PART)
    assert read_records(small_run)["confidence"].tolist() == pytest.approx([0.5 + n / 100 for n in range(6)])
    journal = small_run / "records/part-00001.unfinished"
    with journal.open("wb") as file, pa.ipc.new_stream(file, ATTENTION) as writer:
        writer.write_table(pa.Table.from_pylist([ROWS[0] | {"image_id": "more"}], schema=ATTENTION))
    assert len(read_records(small_run)) == 7


def test_an_evaluation_whose_manifest_does_not_name_a_model_is_told_by_tables_and_figures(tmp_path):
    folder = write(tmp_path / "evaluated", rows(), described())
    manifest = json.loads((folder / "run.json").read_text())
    gone = next(iter(manifest["options"]["models"]))
    del manifest["options"]["models"][gone]
    (folder / "run.json").write_text(json.dumps(manifest))
    for call, arguments in ((make_tables, Run(folder)), (draw_run, folder)):
        assert error_of(call, arguments) == f"{folder / 'run.json'} is damaged (it does not name the model {gone!r})"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"3",
        b'"text"',
        b"\xff\xfe{}",
        b"{",
        b"[" * 100_000,
        b'{"kind": "analyze"}',
        b"9" * 5000,
    ],
)
def test_a_damaged_manifest_is_one_line_in_every_command(attnlab, small_run, content):
    (small_run / "run.json").write_bytes(content)
    for words in (
        ("tables", small_run),
        ("figures", small_run),
        ("report", small_run),
        ("analyze", "--limit", 2, "--out", small_run),
        ("evaluate", "--limit", 2, "--out", small_run),
        ("attack", "--limit", 2, "--out", small_run),
    ):
        assert attnlab(*words).error.startswith(f"{small_run / 'run.json'} is damaged (")
    for read in (read_records, read_evaluation):
        assert error_of(read, small_run).startswith(f"{small_run / 'run.json'} is damaged (")


def paths_of(value: object) -> list[list[object]]:
    """Where every value of a manifest stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    return [[], *([key, *rest] for key, one in inner for rest in paths_of(one))]


GONE = object()


@pytest.mark.parametrize("value", [GONE, None, "text", 3])
@pytest.mark.parametrize("kind", ["analyze", "evaluate"])
def test_every_value_of_a_manifest_that_is_of_another_kind_is_one_line_or_plays_no_part(
    small_run, tmp_path, kind, value
):
    folder = small_run if kind == "analyze" else write(tmp_path / "evaluated", rows(), described())
    whole = json.loads((folder / "run.json").read_text())
    for path in paths_of(whole)[1:]:
        manifest = json.loads(json.dumps(whole))
        at = manifest
        for key in path[:-1]:
            at = at[key]
        if value is GONE:
            del at[path[-1]]
        else:
            at[path[-1]] = value
        (folder / "run.json").write_text(json.dumps(manifest))
        error = found(lambda: make_tables(Run(folder)))
        assert not isinstance(error, str) or "\n" not in error


def test_a_finished_run_that_lost_a_part_says_so_in_every_command_that_reads_it(attnlab, tmp_path):
    run = begun_run(tmp_path / "run")
    manifest = json.loads((run.folder / "run.json").read_text())
    manifest["options"]["images"] = len(ROWS)
    (run.folder / "run.json").write_text(json.dumps(manifest))
    run.write_part(0, ROWS[:4])
    run.write_part(1, ROWS[4:])
    run.finish(1.0)
    run.table()  # whole: no warning
    run.part(1).unlink()
    line = (
        f"Warning: {run.folder} has lost the records of 2 of 6 images, and its numbers are of the others alone: repeat "
        "the call that made the run to make them again"
    )
    for words in (("tables",), ("measure",), ("leaderboard",), ("export", "csv"), ("report", "--no-images")):
        assert attnlab(*words, run.folder).err.splitlines().count(line) == 1, words
