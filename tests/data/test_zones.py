import polars as pl
import pytest

from data.errors import DataError
from data.zones import ZoneTable, in_order, read_zones, zone_id


def test_identifiers_are_text_however_the_file_has_them():
    frame = pl.DataFrame({"int": [444, 7], "float": [444.0, None], "text": [" 007", " "], "odd": [1.5, float("nan")]})
    read = frame.select(zone_id(name, dtype).alias(name) for name, dtype in frame.schema.items())
    assert read.to_dict(as_series=False) == {
        "int": ["444", "7"],
        "float": ["444", None],
        "text": ["007", None],
        "odd": ["1.5", None],
    }


def test_numbers_are_ordered_as_numbers_only_where_all_are():
    assert in_order({"10", "9", "007"}) == ["007", "9", "10"]
    assert in_order({"10", "9", "a"}) == ["10", "9", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,lat\n1,2\n1,3\n", "the id '1' more than once"),
        ("id,lat\n1,2\n,3\n", "1 rows without an id, the first is 2"),
        ("id,lat\n1,north\n", "'lat' has 1 values that are no numbers, the first is 'north'"),
        ("zone,lat\n1,2\n", "no column 'id'"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, text, message):
    (tmp_path / "zones.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_zones(ZoneTable(tmp_path / "zones.csv", id="id", latitude="lat"))
