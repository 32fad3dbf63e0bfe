"""Files: what is written can be read back."""

import json

from hypothesis import given
from hypothesis import strategies as st

from diabolo.files import write_json, write_text, write_whole

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


def test_two_writers_of_one_file_leave_each_other_s_work_alone(tmp_path):
    def slowly(temporary):
        temporary.write_text("of the last to end")
        write_text(tmp_path / "file", "of another, on a machine where it has the same process number")

    write_whole(tmp_path / "file", slowly)
    assert (tmp_path / "file").read_text() == "of the last to end"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
