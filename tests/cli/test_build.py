"""Objects made from a configuration."""

from __future__ import annotations

from dopd_lightning.cli import build as building
from dopd_lightning.policies import load_tokenizer, loading


def test_tokenizers_are_loaded_once_with_all_that_says_where_they_are(configured, models, monkeypatch):
    """The module would look by name alone, and find those of another revision."""
    asked = []

    def load(name, **where):
        asked.append((name, where))
        return load_tokenizer(name)

    monkeypatch.setattr(building, "load_tokenizer", load)
    monkeypatch.setattr(loading, "load_tokenizer", lambda name: asked.append((name, "again")))
    names = [f"{models}/{role}" for role in ("student", "teacher", "other")]
    config = configured(
        *("student.revision=a", "teacher.revision=b", "teacher.trust_remote_code=true"),
        *("reference=model", f"reference.model.name={names[2]}", "reference.model.revision=c"),
    )
    building.build(config)
    revisions, trusted = ("a", "b", "c"), (False, True, False)
    assert asked == [
        (name, {"revision": revision, "trust_remote_code": trust})
        for name, revision, trust in zip(names, revisions, trusted, strict=True)
    ]
