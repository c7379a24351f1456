"""Any number of sources, by name."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.fusion import DOPD, Mixture, Reference, Teacher
from dopd_lightning.policies import load_policy
from dopd_lightning.privileged import PrivilegedAccess
from dopd_lightning.rollout import DatasetRollout, StudentRollout, TeacherRollout
from dopd_lightning.sources import ByDomain, Ema, Ensemble, Policy, Snapshot, Student
from tests.training.steps import weights

SAMPLED = {"rollout": StudentRollout(samples_per_prompt=2, max_new_tokens=6)}


def test_a_source_that_nobody_uses_changes_no_bit(make_module, make_policy, fit, examples):
    """Nor does how often it is shown privileged text: that is drawn by a generator of its own."""
    ended = []
    shown = PrivilegedAccess(student=0.3, teacher=0.5, reference=0.7)
    for sources in ({}, {"maths": Policy(make_policy(7), shown=0.5), "code": Ema(shown=0.1)}):
        torch.manual_seed(0)
        module = make_module(sources=sources, privileged=shown, **SAMPLED)
        fit(module, [examples, examples])
        ended.append((weights(module.student), torch.rand(3)))
    torch.testing.assert_close(ended[0], ended[1], rtol=0, atol=0)


def test_a_source_teaches_under_any_name(make_module, make_policy, examples):
    as_teacher = make_module(fusion=Teacher()).training_step(examples, 0)
    module = make_module(fusion=Teacher(source="maths"), sources={"maths": make_policy(1)})
    step = module.training_step(examples, 0)
    assert step["loss"].equal(as_teacher["loss"])
    assert step["record"].logp["maths"].equal(as_teacher["record"].logp["teacher"])
    assert list(step["record"].logp) == ["student", "maths"], "others need no forward pass"


def test_three_sources_are_one_target(make_module, make_policy, examples):
    """The expected loss is that of an ensemble of the same three, which is one source."""
    share = {"teacher": 0.5, "maths": 0.3, "code": 0.2}
    others = {"maths": make_policy(2), "code": make_policy(3)}
    named = make_module(fusion=Mixture(weights=share), sources=others).training_step(examples, 0)
    members = {"teacher": make_policy(1), **{name: make_policy(seed) for name, seed in (("maths", 2), ("code", 3))}}
    module = make_module(teacher=Ensemble(members, share), fusion=Teacher())
    pooled = module.training_step(examples, 0)
    torch.testing.assert_close(named["loss"], pooled["loss"], rtol=1e-6, atol=1e-6)
    record = named["record"]
    assert list(record.logp) == ["student", "teacher", "maths", "code"]
    expected = sum(share[name] * record.logp[name].exp() for name in share).log()
    found = pooled["record"].logp["teacher"]
    torch.testing.assert_close(found[record.mask], expected[record.mask], rtol=1e-5, atol=1e-5)


def test_by_domain_a_response_learns_from_its_own_teacher(make_module, make_policy, examples):
    domains = ["maths", "code", "maths"]
    rows = [{**example, "domain": domain} for example, domain in zip(examples, domains, strict=True)]
    seeds = {"maths": 1, "code": 2}
    teacher = ByDomain({name: make_policy(seed) for name, seed in seeds.items()})
    record = make_module(teacher=teacher, fusion=Teacher()).training_step(rows, 0)["record"]
    for row, domain in enumerate(domains):
        alone = make_module(teacher=make_policy(seeds[domain]), fusion=Teacher()).training_step([rows[row]], 0)
        mask = record.mask[row]
        torch.testing.assert_close(record.loss[row][mask], alone["record"].loss[0][: mask.sum()], rtol=1e-4, atol=1e-5)


def test_a_domain_that_nobody_teaches_is_said_before_anything_is_written(make_module, make_policy, examples):
    module = make_module(teacher=ByDomain({"maths": make_policy(1)}))
    with pytest.raises(DataError, match=r"domain: 'law', of the prompt 'Add 1 2\.', is not a domain"):
        module.training_step([{**examples[0], "domain": "law"}], 0)


def test_the_sources_of_dopd_have_any_names(make_module, make_policy, examples):
    usual = make_module().training_step(examples, 0)
    rule = DOPD(top_k=8, teacher="maths", reference="self")
    other = make_module(fusion=rule, sources={"maths": make_policy(1), "self": Student()}).training_step(examples, 0)
    assert other["loss"].equal(usual["loss"])
    assert other["record"].regimes.equal(usual["record"].regimes)


def test_who_is_shown_privileged_text(make_module, make_policy, examples):
    shown, never = (
        make_module(fusion=Reference(source="maths"), sources={"maths": Policy(make_policy(1), shown=probability)})
        for probability in (None, 0.0)
    )
    bare = make_module(fusion=Teacher(), privileged=PrivilegedAccess(teacher=0.0)).training_step(examples, 0)
    hinted = make_module(fusion=Teacher()).training_step(examples, 0)
    assert shown.training_step(examples, 0)["loss"].equal(hinted["loss"])
    assert never.training_step(examples, 0)["loss"].equal(bare["loss"])


def test_only_what_learns_of_them_is_in_a_checkpoint(make_module, make_policy, fit, examples, tmp_path):
    def make():
        sources = {"maths": Ema(decay=0.5), "both": Ensemble({"one": make_policy(2), "average": Ema(decay=0.5)})}
        return make_module(sources=sources, fusion=Teacher(source="both"), rollout=DatasetRollout(max_new_tokens=8))

    torch.manual_seed(0)
    whole = make()
    fit(whole, [examples], max_epochs=2)
    torch.manual_seed(0)
    fit(make(), [examples]).save_checkpoint(tmp_path / "run.ckpt")
    names = torch.load(tmp_path / "run.ckpt", weights_only=True)["state_dict"]
    rooms = {name.split(".weights.")[0] for name in names if name.startswith("sources.")}
    assert rooms == {"sources.maths", "sources.both.members.average"}
    resumed = make()
    fit(resumed, [examples], ckpt_path=tmp_path / "run.ckpt", max_epochs=2)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_a_source_that_is_missing_is_named(make_module):
    with pytest.raises(ConfigError, match=r"sources\.maths: is not set, and the fusion rule needs it"):
        make_module(fusion=Mixture(weights={"teacher": 0.5, "maths": 0.5}))


def test_a_teacher_of_several_policies_does_not_write(make_module, make_policy):
    with pytest.raises(ConfigError, match="the teacher would write the responses, but it has several policies"):
        make_module(teacher=Ensemble({"one": make_policy(1)}), rollout=TeacherRollout())


def test_one_model_as_two_sources_is_refused(make_module, make_policy):
    model = make_policy(3)
    with pytest.raises(ConfigError, match="code: it is the same model as the maths"):
        make_module(sources={"maths": model, "code": model})


def test_one_model_under_two_prompts_is_two_sources(make_module, make_policy, tokenizer, examples, tmp_path):
    folder = tmp_path / "model"
    make_policy(3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sources = {name: Policy(load_policy(folder), shown=shown) for name, shown in (("bare", 0.0), ("hinted", 1.0))}
    module = make_module(sources=sources, fusion=Mixture(weights={"bare": 0.5, "hinted": 0.5}))
    record = module.training_step(examples, 0)["record"]
    assert (record.logp["bare"] - record.logp["hinted"])[record.mask].abs().max() > 1e-3
    model = make_policy(3)
    with pytest.raises(ConfigError, match="hinted: it is the same model object as the bare; load it twice"):
        make_module(sources={"bare": Policy(model, shown=0.0), "hinted": Policy(model)})


def test_a_source_of_any_name_is_shown_what_it_says(make_module, make_policy, examples):
    """Also one that is called like a field of `PrivilegedAccess`."""
    losses = [
        make_module(fusion=Teacher(source=name), sources={name: make_policy(3)}).training_step(examples, 0)["loss"]
        for name in ("maths", "evaluation")
    ]
    assert losses[0].equal(losses[1])


def test_who_only_looks_draws_nothing_for_further_sources(make_module, make_policy, fit, examples):
    ended = []
    for looks in (False, True):
        torch.manual_seed(0)
        module = make_module(fusion=Teacher(source="maths"), sources={"maths": Policy(make_policy(3), shown=0.5)})
        if looks:
            observed = module.training_step

            def step(batch, index, module=module, observed=observed):
                with torch.random.fork_rng():
                    torch.manual_seed(0)
                    module.observe(examples[:1], alternatives=1)
                return observed(batch, index)

            module.training_step = step
        fit(module, [examples] * 4)
        ended.append(weights(module.student))
    torch.testing.assert_close(ended[0], ended[1], rtol=0, atol=0)


def test_draws_for_further_sources_depend_on_the_seed(make_module, make_policy, fit, examples):
    seen = {}
    for seed in (1, 2):
        torch.manual_seed(seed)
        module = make_module(fusion=Teacher(source="maths"), sources={"maths": Policy(make_policy(3), shown=0.5)})
        noted, step = seen.setdefault(seed, []), module.training_step

        def training_step(batch, index, noted=noted, step=step):
            outputs = step(batch, index)
            noted.append(outputs["record"].logp["maths"])  # of a frozen source: other values are other prompts
            return outputs

        module.training_step = training_step
        fit(module, [examples] * 8)
    assert not torch.stack(seen[1]).equal(torch.stack(seen[2]))


def test_one_source_object_in_two_places_is_refused(make_module):
    source = Ema()
    with pytest.raises(ConfigError, match="code: this is the same source object as 'maths'"):
        make_module(sources={"maths": source, "code": source})
    snapshot = Snapshot()
    make_module(sources={"maths": snapshot})
    with pytest.raises(ConfigError, match="snapshot: this object is already a source of another module"):
        make_module(sources={"maths": snapshot})


def test_what_a_member_is_shown_is_said_by_the_source_that_holds_it(make_policy):
    with pytest.raises(ConfigError, match=r"members\.one\.shown: 0\.0 would be ignored"):
        Ensemble({"one": Policy(make_policy(1), shown=0.0)})


def test_members_keep_their_dtype(make_module, make_policy):
    module = make_module(teacher=Ensemble({"one": make_policy(1)})).to(torch.bfloat16)
    assert {weight.dtype for weight in module.sources["teacher"].parameters()} == {torch.float32}
    assert module.student.dtype == torch.bfloat16


def test_the_gap_of_a_rule_with_other_names_is_recorded(make_module, make_policy, examples):
    rule = DOPD(top_k=8, teacher="maths", reference="self")
    sources = {"maths": make_policy(1), "self": Student()}
    record = make_module(fusion=rule, sources=sources).training_step(examples, 0)["record"]
    assert record.gap.equal(make_module().training_step(examples, 0)["record"].gap)


def test_domains_are_evened_out_only_where_there_are_some(make_module):
    with pytest.raises(ConfigError, match=r"fusion\.scale_domains: the teacher has no domains"):
        make_module(fusion=Teacher(scale_domains=True))
