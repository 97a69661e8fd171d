"""Files of choices that do not fit a table: each gets one error that names the slot or the row."""

import json

import pyarrow as pa
import pytest
from test_malformed_tables import table

from spin_jax.errors import DataError
from spin_jax.logs.column_map import ColumnConfig
from spin_jax.logs.import_table import import_frame

CHOICES = {
    "not json": ("{", "cannot be read as JSON"),
    "no object": ([1], "must hold an object such as"),
    "no list": ({"slot_drug": "none"}, "slot_drug must have a list of texts or whole numbers"),
    "twice": ({"slot_drug": ["none", "none"]}, "slot_drug has a choice twice"),
    "no slot": ({"drug": ["none"]}, "choices names 'drug', which is no slot. Slots are slot_drug, slot_dose"),
    "other type": ({"slot_drug": [1, 2]}, "gives slot_drug the choice 1, but the column holds text: write them alike"),
    "too few": (
        {"slot_drug": ["none"]},
        "row 0 has 'aspirin' in slot_drug; its choices are 'none'\n.*\nWhat would do: correct",
    ),
    "too small": ({"slot_dose": 2}, "row 2 has 2 in slot_dose; its choices are 0, 1\n"),
}


@pytest.mark.parametrize("case", CHOICES)
def test_choices_that_do_not_fit_are_named(tmp_path, case):
    content, message = CHOICES[case]
    path = tmp_path / "choices.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=f"(?s){message}"):
        import_frame(pa.table(table()), ColumnConfig(episode="ep", step="t", choices=str(path)), tmp_path, "log")
    with pytest.raises(DataError, match="choices=nowhere.json: there is no such file"):
        import_frame(pa.table(table()), ColumnConfig(choices="nowhere.json"), tmp_path, "log")
