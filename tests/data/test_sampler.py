"""The order of training examples is one, however many processes read it and wherever they were stopped."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from dopd_lightning.data.sampler import TrainingSampler


def batches(sampler: TrainingSampler, batch_size: int, number: int | None = None) -> list[list[int]]:
    """The next of an epoch, as a loader makes them; all if no number is given."""
    indices = list(islice(sampler, None if number is None else number * batch_size))
    return [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]


def together(samplers: list[TrainingSampler], batch_size: int) -> list[set[int]]:
    """Examples that all processes read in each step of an epoch."""
    return [set().union(*shares) for shares in zip(*(batches(each, batch_size) for each in samplers), strict=True)]


@given(size=st.integers(1, 40), batch_size=st.integers(1, 4), processes=st.integers(1, 4), seed=st.integers(0, 9))
def test_any_number_of_processes_read_together_what_one_would(size, batch_size, processes, seed):
    one = TrainingSampler(range(size), batch_size * processes, seed=seed)
    many = [
        TrainingSampler(range(size), batch_size, processes=processes, rank=rank, seed=seed) for rank in range(processes)
    ]
    for _ in range(3):
        steps = together(many, batch_size)
        assert steps == together([one], batch_size * processes)
        assert all(len(step) == batch_size * processes for step in steps), "full, and nothing twice"


def test_each_epoch_has_an_order_of_its_own_and_each_seed_too():
    sampler = TrainingSampler(range(20), 4, seed=1)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert list(TrainingSampler(range(20), 4, seed=1)) == first
    assert list(TrainingSampler(range(20), 4, seed=2)) != first


@given(done=st.integers(0, 9), before=st.sampled_from([1, 2, 4]), after=st.sampled_from([1, 2, 4]))
def test_any_number_of_processes_go_on_where_others_stopped(done, before, after):
    """5 steps an epoch of 8 examples each: in the middle of an epoch, and at its end."""
    whole = TrainingSampler(range(43), 8)
    expected = (together([whole], 8) + together([whole], 8))[done:]
    stopped = TrainingSampler(range(43), 8 // before, processes=before, rank=before - 1)
    if done > 5:
        batches(stopped, 8 // before)
    batches(stopped, 8 // before, done if done <= 5 else done - 5)
    resumed = [TrainingSampler(range(43), 8 // after, processes=after, rank=rank) for rank in range(after)]
    for each in resumed:
        each.load_state_dict(stopped.state_dict())
    found = together(resumed, 8 // after)
    while len(found) < len(expected):
        found += together(resumed, 8 // after)
    assert found == expected


def test_an_epoch_left_half_read_is_not_gone_on_with():
    sampler, other = TrainingSampler(range(20), 4), TrainingSampler(range(20), 4)
    batches(sampler, 4, 2)
    list(other)
    assert list(sampler) == list(other)


def test_iterators_that_nobody_reads_change_nothing():
    sampler = TrainingSampler(range(20), 4)
    iter(sampler)
    iter(sampler)
    assert list(sampler) == list(TrainingSampler(range(20), 4))
