"""Sources by their names in a run."""

from __future__ import annotations

import pytest

from dopd_lightning.errors import ConfigError
from dopd_lightning.sources import Ema, Snapshot, Student, as_source, named_sources


def test_a_kind_a_model_or_a_source_will_do(make_policy):
    source, model = Ema(), make_policy()
    assert as_source(source) is source
    assert isinstance(as_source("snapshot"), Snapshot)
    assert as_source(model).weights is model


def test_a_model_is_named_by_text_or_path(make_policy, tmp_path):
    make_policy().save_pretrained(tmp_path)
    for name in (tmp_path, str(tmp_path)):
        assert as_source(name).weights.name_or_path == str(tmp_path)


def test_the_everyday_names_come_first():
    assert list(named_sources("snapshot", "student", {"maths": "ema"})) == ["teacher", "reference", "maths"]
    assert list(named_sources(None, "student", {})) == ["reference"]


@pytest.mark.parametrize("name", ["student", "data", "teacher", "reference", "a.b", "", "keys", "2nd"])
def test_a_name_that_is_taken_or_no_word_is_refused(name):
    with pytest.raises(ConfigError, match=rf"sources\.{name}: .* cannot have this name"):
        named_sources(None, "student", {name: "ema"})


def test_who_is_shown_privileged_text_is_said_once():
    with pytest.raises(ConfigError, match=r"reference\.shown: 0\.5 is set by privileged\.reference"):
        named_sources(None, Student(shown=0.5), {})
