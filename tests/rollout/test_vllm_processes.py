"""Two processes and one server: the first sends the weights, whole ones, and each writes its own responses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from dopd_lightning.errors import EngineError
from dopd_lightning.rollout import Sampling, VLLMServerEngine

CASES = ("whole", "sharded", "failing")


def _one_process(rank: int, folder: str, urls: dict[str, str]) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(rank)
    found = {}
    for case in CASES:
        policy = AutoModelForCausalLM.from_pretrained(f"{folder}/student").eval()
        if case == "sharded":
            mesh = init_device_mesh("cpu", (2,))
            for part in (*policy.model.layers, policy):
                fully_shard(part, mesh=mesh)
        engine = VLLMServerEngine(url=urls[case], weights=f"{folder}/{case}", timeout=30)
        try:
            engine.synchronise(policy)
            options = {"eos_ids": [], "pad_id": 0, "vocabulary_size": 200}
            found[case] = engine.generate(policy, [[40, 41]], Sampling(max_new_tokens=12), **options).ids
        except EngineError as error:
            found[case] = str(error)
    torch.save(found, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def servers(stand_in, make_policy):
    """One a case, with other weights than the student's."""
    each = {case: stand_in(make_policy(7)) for case in CASES}
    each["failing"].instead["/collective_rpc"] = lambda body: (500, {"error": {"message": "disk on fire"}})
    return each


@pytest.fixture(scope="module")
def found(servers, make_policy, tmp_path_factory):
    """Results of each of the two processes in each case."""
    folder = tmp_path_factory.mktemp("processes")
    make_policy(0).save_pretrained(folder / "student")
    urls = {case: server.url for case, server in servers.items()}
    torch.multiprocessing.spawn(_one_process, args=(str(folder), urls), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("case", ["whole", "sharded"])
def test_the_first_sends_all_weights_before_anyone_writes(found, servers, make_policy, case):
    paths = [path for path, body in servers[case].requests if body is not None]
    assert paths[0] == "/collective_rpc"
    assert paths.count("/collective_rpc") == 1
    for sent, own in zip(servers[case].policy.parameters(), make_policy(0).parameters(), strict=True):
        assert sent.equal(own)
    first, second = (each[case] for each in found)
    assert len(first[0]) == len(second[0]) == 12
    assert first != second, "each process has random numbers of its own"


def test_where_the_first_cannot_send_none_goes_on(found):
    assert all("disk on fire" in each["failing"] for each in found)
