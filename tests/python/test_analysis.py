"""Exports load into DuckDB, pandas and polars with one line each: a course is one query.

The lines here are those that README shows. Their options matter: these libraries guess the columns'
types from the first lines or files, and what is null there and a value later would be lost without
them.
"""

import copy
import json
import subprocess

import duckdb
import pandas
import polars
import pytest

from kernel_session import BINARY, RECORD, ROOT, check_record

NOTEBOOKS = 1000


def notebook(records):
    outputs = [[{"output_type": "display_data", "metadata": {}, "data": {RECORD: it}}] for it in records]
    cells = [
        {"cell_type": "code", "metadata": {}, "source": "", "execution_count": 1, "outputs": output}
        for output in outputs
    ]
    return {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}


def recorded_runs():
    """The records of real runs, on machines with and without a limit."""
    for path in sorted((ROOT / "notebooks" / "recorded").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        yield [output["data"][RECORD] for output in outputs if RECORD in output.get("data", {})]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The export of a thousand notebooks, and what is in it."""
    folder = tmp_path_factory.mktemp("course")
    submissions, runs, expected = folder / "submissions", list(recorded_runs()), []
    # In the order of their names: the last tenth has what no other has.
    for number in range(NOTEBOOKS):
        records = copy.deepcopy(runs[min(number * len(runs) // NOTEBOOKS, len(runs) - 1)])
        for record in records:
            ram = record["rows"][0]
            ram["peak"] += number * 4096
            if number >= NOTEBOOKS * 9 // 10:
                record["cell"].update(status="panic", cause="panicked: out of cheese")
                ram["unavailable"], record["warnings"] = "a reason", ["a warning"]
            check_record(record)
            expected.append((number, record))
        path = submissions / f"{number:04}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook(records)))
    course = folder / "course.jsonl"
    command = [BINARY, "report", submissions, "--format", "jsonl", "--output", course]
    subprocess.run(command, check=True, timeout=60)
    return course, expected


def highest_ram(expected):
    return max(record["rows"][0]["peak"] for _, record in expected)


def failed(expected):
    return sum(record["cell"]["cause"] is not None for _, record in expected)


def test_duckdb(course):
    course, expected = course
    records = duckdb.sql(f"from read_json('{course}', sample_size=-1)")
    assert len(records) == len(expected)
    assert duckdb.sql("select count(distinct source) from records").fetchall() == [(NOTEBOOKS,)]
    assert duckdb.sql("select count(cell.cause) from records").fetchall() == [(failed(expected),)]
    rows = duckdb.sql("select source, unnest(rows) as row from records")
    [worst] = duckdb.sql(
        "select source, row.peak from rows where row.memory = 'ram' and row.scope = 'process' "
        "order by row.peak desc limit 1"
    ).fetchall()
    assert worst[1] == highest_ram(expected)
    limits = duckdb.sql("select distinct environment.facts.container_limit_bytes from records")
    assert (1 << 30,) in limits.fetchall()


def test_duckdb_reads_one_export_of_each(course, tmp_path):
    course, expected = course
    for number, record in expected:
        with (tmp_path / f"{number:04}.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
    records = duckdb.sql(
        f"from read_json('{tmp_path}/*.jsonl', maximum_sample_files=-1, sample_size=-1)"
    )
    assert len(records) == len(expected)
    assert duckdb.sql("select count(cell.cause) from records").fetchall() == [(failed(expected),)]


def test_pandas(course):
    course, expected = course
    table = pandas.read_json(course, lines=True)
    assert len(table) == len(expected)
    assert table["source"].nunique() == NOTEBOOKS
    assert table["cell"].str["cause"].notna().sum() == failed(expected)
    rows = pandas.json_normalize(table["rows"].explode())
    ram = rows[(rows["memory"] == "ram") & (rows["scope"] == "process")]
    assert ram["peak"].max() == highest_ram(expected)


def test_polars(course):
    course, expected = course
    table = polars.read_ndjson(course, infer_schema_length=None)
    assert len(table) == len(expected)
    assert table["source"].n_unique() == NOTEBOOKS
    cause = table["cell"].struct.field("cause")
    assert len(table) - cause.null_count() == failed(expected)
    rows = table.select("rows").explode("rows").unnest("rows")
    ram = rows.filter((polars.col("memory") == "ram") & (polars.col("scope") == "process"))
    assert ram["peak"].max() == highest_ram(expected)
    limits = table["environment"].struct.field("facts").struct.field("container_limit_bytes")
    assert limits.max() == 1 << 30
