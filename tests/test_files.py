"""Files: what is written can be read back."""

import json

from hypothesis import given
from hypothesis import strategies as st

from diabolo.files import write_json

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
NESTED = st.recursive(PLAIN, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=20)


@given(value=NESTED)
def test_json_is_read_back_as_it_was(value, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text("utf-8")) == value


def test_a_list_of_numbers_takes_one_line(tmp_path):
    write_json(tmp_path / "value.json", {"matrix": [[1.0, -0.25], [3e-5, 4]], "text": "[\n1,\n2]", "no": []})
    lines = [line.strip() for line in (tmp_path / "value.json").read_text("utf-8").splitlines()]
    assert lines[1:5] == ['"matrix": [', "[1.0, -0.25],", "[3e-05, 4]", "],"]
    assert json.loads("\n".join(lines))["text"] == "[\n1,\n2]"
