import gzip
import hashlib

import polars as pl
import pytest

from data.errors import DataError
from data.sources import find_files, readable, require_columns, scan, scan_all, sha256


@pytest.fixture
def rows():
    return pl.DataFrame({"id": ["007", "012"], "count": [1, 2]})


def test_paths_and_globs_are_found_sorted_and_once(tmp_path):
    for name in "cab":
        (tmp_path / f"{name}.csv").write_text("x\n1\n")
    found = find_files([str(tmp_path / "*.csv"), str(tmp_path / "a.csv")])
    assert [file.name for file in found] == ["a.csv", "b.csv", "c.csv"]


@pytest.mark.parametrize("missing", ["none.csv", "none/*.csv"])
def test_what_matches_nothing_is_named(tmp_path, missing):
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match=r"no file matches .*none"):
        find_files([str(tmp_path / "a.csv"), str(tmp_path / missing)])


def test_a_folder_and_an_empty_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        find_files(str(tmp_path))
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match=r"empty\.csv is empty"):
        find_files(str(tmp_path / "*.csv"))
    with pytest.raises(DataError, match="no file is named"):
        find_files([])


def test_text_files_keep_leading_zeros_whatever_their_dress(tmp_path, rows):
    rows.write_csv(tmp_path / "a.csv")
    rows.write_csv(tmp_path / "a.tsv", separator="\t")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    for name in ("a.csv", "a.tsv", "a.csv.gz"):
        read = scan(tmp_path / name).collect()
        assert read.rows() == [("007", "1"), ("012", "2")]


def test_parquet_keeps_its_types(tmp_path, rows):
    rows.write_parquet(tmp_path / "a.parquet")
    assert scan(tmp_path / "a.parquet").collect().equals(rows)


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.xlsx.*known are \.csv"):
        scan(tmp_path / "a.xlsx")


def test_a_file_name_with_glob_characters_is_one_file(tmp_path, rows):
    file = tmp_path / "trips [1].csv"
    rows.write_csv(file)
    assert find_files(str(file)) == [file]
    assert scan(file).collect().height == 2


def test_a_damaged_parquet_file_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing that makes sense")
    with pytest.raises(DataError, match=r"a\.parquet: can't be read"):
        scan(tmp_path / "a.parquet")


def test_a_truncated_archive_is_named(tmp_path, rows):
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(b"id,count\n" + b"".join(b"%d,%d\n" % (i * i, i) for i in range(20_000)))[:-9000])
    with pytest.raises(DataError, match=r"a\.csv\.gz: can't be read"), readable([file]):
        scan(file).collect(engine="streaming")


def test_damage_found_only_while_reading_names_the_broken_one_of_several(tmp_path, rows):
    rows.write_parquet(tmp_path / "good.parquet")
    many = pl.DataFrame({"id": [str(i) for i in range(20_000)], "count": range(20_000)})
    many.write_parquet(tmp_path / "bad.parquet")
    content = bytearray((tmp_path / "bad.parquet").read_bytes())
    content[10 : len(content) // 2] = b"\0" * (len(content) // 2 - 10)
    (tmp_path / "bad.parquet").write_bytes(content)
    files = [tmp_path / "good.parquet", tmp_path / "bad.parquet"]
    with pytest.raises(DataError, match=r"bad\.parquet: can't be read"), readable(files):
        scan_all(files, ["id"]).collect(engine="streaming")


def test_a_csv_row_with_too_many_cells_is_an_error_not_a_guess(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("x,y\n1,2\n1,2,3\n")
    with pytest.raises(DataError, match=r"a\.csv: can't be read: a row has more cells"), readable([file]):
        scan(file).collect()


def test_text_in_another_encoding_is_told_to_be_saved_as_utf_8(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes("x,y\nÅrhus,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8; save it as UTF-8"), readable([file]):
        scan(file).collect()


def test_columns_that_some_files_lack_are_null_in_them(tmp_path, rows):
    rows.write_parquet(tmp_path / "a.parquet")
    rows.with_columns(fee=1.5).write_parquet(tmp_path / "b.parquet")
    read = scan_all([tmp_path / "a.parquet", tmp_path / "b.parquet"], ["id"]).collect()
    assert read["fee"].to_list() == [None, None, 1.5, 1.5]


def test_a_missing_column_is_named_with_the_nearest(rows):
    with pytest.raises(
        DataError, match=r"trips\.csv: no column 'counts' \(did you mean 'count'\?\); the columns are: id, count"
    ):
        require_columns(rows, ["id", "counts"], "trips.csv")


def test_every_file_must_have_the_columns(tmp_path, rows):
    rows.write_csv(tmp_path / "a.csv")
    rows.drop("count").write_csv(tmp_path / "b.csv")
    with pytest.raises(DataError, match=r"b\.csv: no column 'count'"):
        scan_all([tmp_path / "a.csv", tmp_path / "b.csv"], ["id", "count"])


def test_the_hash_is_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"flock")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"flock").hexdigest()


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_the_sign_between_columns_is_seen_in_the_first_line(sign, tmp_path):
    file = tmp_path / "x.csv"
    file.write_text(sign.join(["a", '"b,c;d"', "e"]) + "\n" + sign.join("123") + "\n")
    assert scan(file).collect().rows() == [("1", "2", "3")]
