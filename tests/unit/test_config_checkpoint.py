"""The tables [checkpoint] and [variables] transform: what they give, and what is refused before anything runs."""

import pytest

from lockstep import config
from lockstep.common.errors import InputError
from lockstep.files.checkpoints.settings import CheckpointSettings

PLAIN = """
[reference]
runtime = "tf1"
entry = "a.py:forward"
[candidate]
runtime = "keras"
entry = "b.py:build"
[inputs.x]
shape = [2]
"""


def read(tmp_path, text):
    (tmp_path / "lockstep.toml").write_text(PLAIN + text)
    return config.read(tmp_path)


def test_without_them_there_is_no_checkpoint_and_no_rule(tmp_path):
    found = read(tmp_path, "")
    assert (found.checkpoint, found.transforms) == (None, ())


def test_both_are_read(tmp_path):
    found = read(
        tmp_path,
        """
        [variables]
        transform = [["/kernel$", "transpose(1,0)"], ["^l/(.*)$", "split(0, 0, [1, 2])", 'rnn/\\1']]
        [checkpoint]
        path = "runs/model.ckpt"
        moving_averages = true
        allow_missing = ["/step$"]
        """,
    )
    assert found.checkpoint == CheckpointSettings(tmp_path / "runs/model.ckpt", True, ("/step$",))
    assert [rule.transform.text for rule in found.transforms] == ["transpose(1,0)", "split(0, 0, [1, 2])"]
    assert [rule.source_of("l/w") for rule in found.transforms] == [None, "rnn/w"]


def test_the_candidates_own_file_and_who_loads_are_read(tmp_path):
    found = read(tmp_path, '[checkpoint]\ncandidate = "new.h5"\nloaded = ["candidate"]')
    assert found.checkpoint == CheckpointSettings(None, candidate=tmp_path / "new.h5", loaded=("candidate",))
    assert read(tmp_path, '[checkpoint]\npath = "m"\nloaded = []').checkpoint.loaded == ()
    assert read(tmp_path, '[checkpoint]\npath = "m"').checkpoint.loaded is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[checkpoint]\ncandidate = "../m.h5"', "leaves the folder of the configuration"),
        ('[checkpoint]\npath = "m"\nloaded = ["both"]', """loaded is ['both']; it must be an array of"""),
        ('[checkpoint]\npath = "m"\nloaded = "candidate"', "it must be an array of"),
        ("[checkpoint]", "[checkpoint] has no path"),
        ('[checkpoint]\npaht = "m"', "unknown key 'paht'; did you mean 'path'"),
        ("[checkpoint]\npath = 3", "path is 3; it must be a string"),
        ('[checkpoint]\npath = "../m.ckpt"', "leaves the folder of the configuration"),
        ('[checkpoint]\npath = "m"\nmoving_averages = "yes"', "moving_averages is a string; it must be true or false"),
        ('[checkpoint]\npath = "m"\nallow_missing = "step"', "allow_missing is a string; it must be an array"),
        ('[checkpoint]\npath = "m"\nallow_missing = ["("]', "allow_missing holds '('"),
        ('[variables]\ntransform = "transpose"', "transform is a string; it must be an array"),
        ('[variables]\ntransform = [["a"]]', "transform holds ['a']; it must be an array"),
        ('[variables]\ntransform = [["a", "b", "c", "d"]]', "transform holds"),
        ('[variables]\ntransform = [["(", "squeeze"]]', "is not a valid regular expression"),
        ("[variables]\ntransform = [['a', 'squeeze', '\\1']]", "is not a valid regular expression"),
        ('[variables]\ntransform = [["a", "sqeeze"]]', "there is no 'sqeeze'; did you mean 'squeeze'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path, text, told):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert told in str(caught.value)
    assert str(caught.value).startswith("lockstep.toml: [")
