"""Budgets, spilling and smaller batches after memory ran out."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.sets import CalibrationSet
from harness.errors import UsageError
from harness.machine.memory import WORKERS_VARIABLE, Budget, is_out_of_memory
from harness.method.stack import check
from harness.run.run_trial import run_trial
from harness.run.session import Session
from harness.text import parse_size
from harness.trial.spec import TrialSpec


def tensors(seed, count=3, size=1000):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator) for _ in range(count)]


def test_the_oldest_goes_to_disk_and_comes_back_unchanged(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    budget = Budget(2 * 3 * 4000)
    kept = [budget.keep(tensors(seed)) for seed in range(4)]
    assert [one.nbytes for one in kept] == [0, 0, 12000, 12000]
    assert budget.spilled_bytes == 24000
    assert len(list(tmp_path.iterdir())) == 2
    for seed, one in enumerate(kept):
        assert len(one) == 3
        assert all(map(torch.equal, one, tensors(seed)))
        assert all(map(torch.equal, one[1:], tensors(seed)[1:]))
    with pytest.raises(IndexError):
        kept[0][3]
    del kept, one
    gc.collect()
    assert not list(tmp_path.iterdir()), "spilled files go with their owner"


def test_what_is_larger_than_the_budget_goes_to_disk_itself():
    kept = Budget(100).keep(tensors(0))
    assert kept.nbytes == 0
    assert torch.equal(kept[2], tensors(0)[2])


def test_memory_of_the_dead_is_free_again():
    budget = Budget(13000)
    for seed in range(5):
        budget.keep(tensors(seed))
    assert budget.spilled_bytes == 0


def batches(layout, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(n, 3, 4, 5, generator=generator) for n in (4, 1, 6)]
    if layout == "permuted":
        return [x.permute(0, 2, 3, 1) for x in made]
    if layout == "mixed":
        return [made[0], *(x.contiguous(memory_format=torch.channels_last) for x in made[1:])]
    return [x.contiguous(memory_format=getattr(torch, layout)) for x in made]


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last", "permuted", "mixed"])
@pytest.mark.parametrize("spilled", [None, 240, 1000])
@given(rows=st.lists(st.integers(0, 10), min_size=1, max_size=14))
@settings(max_examples=20, deadline=None)
def test_rows_come_from_memory_and_disk_as_from_one_tensor(layout, spilled, rows):
    """With 1000 bytes the first batch is on disk, the second and third as memory allows."""
    kept, made = Budget(spilled).keep(batches(layout)), batches(layout)
    expected, got = torch.cat(made)[torch.tensor(rows)], kept.select(torch.tensor(rows))
    assert torch.equal(got, expected)
    assert got.stride() == expected.stride()
    assert kept.rows == 11
    assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(kept, made, strict=True))
    assert (kept.nbytes < kept.total_bytes == 11 * 240) is (spilled is not None)


def test_rows_that_are_not_there_are_refused():
    for row in (-1, 11):
        with pytest.raises(IndexError, match=f"row {row} of 11 rows"):
            Budget(0).keep(batches("channels_last")).select(torch.tensor([0, row]))


def test_of_a_generator_only_what_fits_is_in_memory():
    budget, most = Budget(9000), []
    kept = budget.keep(())

    def made():
        for tensor in tensors(0, count=20):
            most.append(sum(one.nbytes for reference in budget._held if (one := reference()) is not None))
            yield tensor

    later = budget.keep(made())
    budget.add(kept, torch.zeros(10))
    assert max(most) <= 9000
    assert later.total_bytes == 80_000
    assert all(map(torch.equal, later, tensors(0, count=20)))
    assert torch.equal(kept[0], torch.zeros(10))


def test_what_a_block_kept_at_most_and_spilled_is_measured():
    budget = Budget(20_000)
    before = budget.keep(tensors(0))
    with budget.measured() as usage:
        budget.keep(tensors(1))
        budget.keep(tensors(2, count=2))
    assert usage.facts() == {"kept_bytes": 12_000, "spilled_bytes": 12_000}, "one after the other; the older went to disk"
    assert before.nbytes == 0
    with budget.measured() as usage:
        pass
    assert usage.facts() == {}


def test_a_process_counts_on_its_part_of_the_machine_or_job(monkeypatch):
    whole = Budget().limit
    monkeypatch.setenv(WORKERS_VARIABLE, "4")
    assert Budget().limit < whole / 3
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1024")
    assert Budget().limit == 2**30 // 4 // 2


@given(st.integers(0, 10**6), st.sampled_from(["K", "M", "G"]), st.sampled_from(["", "B", "iB"]))
def test_sizes(number, unit, ending):
    assert parse_size(f"{number}{unit}{ending}") == number * 1024 ** " KMG".index(unit)


def test_what_is_no_size_is_refused():
    assert parse_size("auto") is None
    assert parse_size("1.5 gb") == 1610612736
    with pytest.raises(UsageError, match="memory '48' not understood: expected a size such as 8GB"):
        TrialSpec("fqvit", memory="48")


def test_a_small_budget_changes_no_byte_and_the_record_tells(store, tmp_path):
    spec = TrialSpec("fqvit+evolq(passes=1,batch=8)", calib=16, eval_limit=50, device="cpu", memory="200K")
    record, _ = run_trial(spec, store, share=False)
    free, _ = run_trial(TrialSpec(**{**spec.__dict__, "memory": "auto"}), store, share=False, force=True)
    assert record["id"] == free["id"]
    assert record["stages"][-2]["notes"]["spilled_bytes"] > 200_000
    assert "spilled_bytes" not in free["stages"][-2]["notes"]
    assert record["environment"]["memory_budget_bytes"] == 200 * 1024
    assert record["metrics"] == free["metrics"]
    assert record["stages"][-2]["notes"]["loss_end"] == free["stages"][-2]["notes"]["loss_end"]


def test_torch_and_python_running_out_of_memory_are_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


def only(most):
    """A hook for a segment that has memory for so many images."""

    def hook(module, arguments):
        if len(arguments[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    return hook


def test_a_batch_that_does_not_fit_is_halved_until_it_does(model, calibration):
    expected = model(calibration.images)
    handle = model.segments[3].module.register_forward_pre_hook(only(5))
    try:
        assert torch.allclose(model(calibration.images), expected, atol=1e-5)
        assert model.batch_limit == 4
        with pytest.raises(torch.OutOfMemoryError):  # observers need the whole batch
            model.observe(calibration.images, lambda name, x: None)
    finally:
        handle.remove()
        model.batch_limit = None


def test_the_record_tells_of_smaller_batches(store, monkeypatch):
    session = Session()
    spec = TrialSpec("fqvit(batch=4)+evolq(passes=1,cycles=1,batch=16,held_out=0)", calib=16, eval_limit=50, device="cpu")
    plain, _ = run_trial(spec, store, session=session)
    (kept,) = (part.value for _, parts in [session.opened._kinds["capture"]] for part in parts.values())
    handle = kept.segments[2].module.register_forward_pre_hook(only(4))
    record, _ = run_trial(spec, store, session=session, force=True)
    handle.remove()
    assert record["status"] == "done", record.get("error")
    assert record["environment"]["batch_reduced_to"] == 4
    assert "batch_reduced_to" not in plain["environment"]
    assert abs(record["metrics"]["n_correct"] - plain["metrics"]["n_correct"]) <= 1


def test_calibration_that_does_not_fit_names_the_setting(store):
    session = Session()
    spec = TrialSpec("fqvit", calib=16, eval_limit=50, device="cpu")
    run_trial(spec, store, session=session)
    (kept,) = (part.value for _, parts in [session.opened._kinds["capture"]] for part in parts.values())
    handle = kept.segments[2].module.register_forward_pre_hook(only(4))
    record, _ = run_trial(spec, store, session=session, force=True)
    handle.remove()
    assert record["error"]["kind"] == "oom"
    assert "fqvit(batch=8)" in record["error"]["message"]


def test_one_wait_for_the_device_per_candidate(model, calibration, context):
    """On a GPU every ``item`` is a round trip to the host; a candidate's fitness needs exactly one."""
    from harness.engines.losses import named
    from harness.engines.scale_search import Objective, units_of

    for step in check("fqvit").steps:
        step.method.apply(model, CalibrationSet(calibration.images), context())
    batches = list(calibration.batches(8))
    objective = Objective(model, batches, named("infonce", temperature=3.0, normalise=True), "true_fp")
    unit = units_of(model, "attention_weights")[0]
    objective.value(unit.segment)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        objective.value(unit.segment)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts.get("aten::_local_scalar_dense", 0) == 0, "reads of single numbers wait for the device"
    assert counts["aten::stack"] == 1, "the losses of all batches come to the host together"


def test_a_network_of_convolutions_runs_channels_last_and_spilling_keeps_the_layout():
    import timm

    from harness.quant.network.qmodel import quantizable

    network = timm.create_model("resnet18", pretrained=False).eval()
    model = quantizable(network, (3, 64, 64), "resnet18")
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        inner = model.run(images, 0, 2)
    assert model.channels_last
    assert (model(images) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert inner.is_contiguous(memory_format=torch.channels_last)
    (back,) = Budget(0).keep([inner])
    assert torch.equal(back, inner)
    assert back.stride() == inner.stride()


def test_a_transformer_keeps_its_layout(model):
    assert not model.channels_last
