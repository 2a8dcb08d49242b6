"""The walk over segments: what it computes, when, what it releases, and that a budget changes no result of any method."""

import gc
import weakref

import pytest
import torch

from harness.engines.layerwise import SegmentInputs, walk
from harness.machine.memory import Budget
from harness.run.run_trial import run_trial
from harness.trial.spec import TrialSpec
from tests.baselines.applying import apply
from tests.lanes import sparing

WALKING = {
    "minmax+biascorr(form=empirical,batch=4)": "w4a8",
    "repqvit+gptq(batch=4)": "w4a4",
    "repqvit+erq(batch=4)": "w4a4",
    "repqvit+erq(batch=4,inputs=quantized)": "w4a4",
    "repqvit+qwt(batch=4)": "w4a4",
    "repqvit+qwt(batch=4,preset=chain)": "w4a4",
    "minmax+adaround(iterations=2,batch=4)": "w4a8",
    "minmax+adaround(iterations=2,batch=4,inputs=full)": "w4a8",
    "minmax+brecq(iterations=2,batch=4,loss=fisher,scale_iterations=2)": "w4a8",
    "repqvit+qdrop(iterations=2,batch=4)": "w4a4",
    "repqvit+fimaq(iterations=4,rank=2,batch=4)": "w4a4",
    "ptq4vit(steps=2,rounds=1)": "w6a6",
    "ptq4vit(steps=2,rounds=1,gradient=quantized)": "w6a6",
    "easyquant(steps=2)": "w4a4",
    "rankaware(steps=2,rounds=1)": "w4a4",
    "adalog(candidates=32,steps=1,rounds=1)": "w4a4",
    "fqvit+evolq(passes=1,cycles=1,batch=4,scope=block)": "w8a8",
    "fqvit+gradopt(passes=1,steps=1,batch=4,scope=block)": "w8a8",
}


# What walks the same way with other settings, or on the engine of another one here.
NIGHTLY = (
    "repqvit+erq(batch=4,inputs=quantized)",
    "repqvit+qwt(batch=4,preset=chain)",
    "minmax+adaround(iterations=2,batch=4,inputs=full)",
    "repqvit+qdrop(iterations=2,batch=4)",
    "ptq4vit(steps=2,rounds=1,gradient=quantized)",
    "easyquant(steps=2)",
)


@pytest.mark.parametrize("method", sparing(WALKING, WALKING.keys() - set(NIGHTLY)))
def test_a_budget_that_holds_nothing_changes_no_byte_of_any_method(method, store):
    runs, bits = [], WALKING[method]
    for memory in ("auto", "100K"):
        spec = TrialSpec(method, bits=bits, calib=8, eval_limit=20, device="cpu", memory=memory)
        record, _ = run_trial(spec, store, share=False, force=True)
        assert record["status"] == "done", record["error"]["traceback"]
        runs.append((record, (store.folder(record["id"]) / "quantizers.safetensors").read_bytes()))
    (free, expected), (bound, found) = runs
    assert found == expected
    assert bound["metrics"] == free["metrics"]
    assert bound["environment"]["memory_budget_bytes"] == 100 * 1024
    notes, others = bound["stages"][-2]["notes"], free["stages"][-2]["notes"]
    assert notes["spilled_bytes"] > 0
    assert "spilled_bytes" not in others
    assert notes["kept_bytes"] == others["kept_bytes"] > 100 * 1024


def test_inputs_are_those_of_one_pass_and_computed_once(model, calibration):
    images = calibration.images
    inputs = SegmentInputs(model.run_full_precision, images.split(6), Budget())
    before = model.image_forwards
    got = inputs[len(model.segments)]
    assert [len(x) for x in got] == [6, 6, 4]
    assert torch.equal(torch.cat(list(got)), torch.cat([model.run_full_precision(x) for x in images.split(6)]))
    assert inputs[3] is inputs[3]
    assert model.image_forwards - before == pytest.approx(2 * len(images))
    assert not got[0].requires_grad


def test_after_a_change_what_comes_after_it_is_computed_anew(model, calibration, context):
    apply(model, calibration, context, "minmax")
    inputs = SegmentInputs(model.run, [calibration.images], Budget())
    before, after = inputs[2], inputs[3]
    model.quantizers.clear()
    inputs.changed(2)
    assert inputs[2] is before
    assert not torch.equal(inputs[3][0], after[0])
    assert torch.equal(inputs[3][0], model.run(before[0], 2, 3))


def test_inputs_that_others_have_are_asked_for_until_the_first_change(model, calibration):
    asked = []

    def reuse(segment, compute):
        asked.append(segment)
        return compute()

    inputs = SegmentInputs(model.run, [calibration.images], Budget(), reuse)
    inputs[2]
    inputs.changed(1)
    inputs[3]
    assert asked == [1, 2]


def test_the_walk_sees_changes_of_earlier_visits(model, calibration, context):
    made, images = apply(model, calibration, context, "minmax"), calibration.images
    for visit in walk(model, images, made, batch=len(images), full=True):
        (full,), (target,), (quantized,) = visit.full, visit.targets, visit.quantized
        if visit.index:
            assert torch.equal(full, model.run_full_precision(images, 0, visit.index))
            assert torch.equal(quantized, model.run(images, 0, visit.index))
        assert torch.equal(target, model.run_full_precision(full, visit.index, visit.index + 1))
        for operation in visit.operations:
            model.shift_bias(operation.node, torch.full_like(operation.bias, 0.01))
    assert visit.segment is model.segments[-1]


def test_the_walk_releases_what_it_passed(model, calibration, context):
    held, made = [], apply(model, calibration, context, "minmax")
    for visit in walk(model, calibration.images, made, batch=8, full=True):
        held += [weakref.ref(inputs) for inputs in (visit.full, visit.quantized, visit.targets)]
        gc.collect()
        alive = {id(inputs) for reference in held if (inputs := reference()) is not None}
        assert len(alive) <= 3, "of this segment only"
    first = next(walk(model, calibration.images, made, batch=8))
    first.networks["quantized"].advance(4)
    with pytest.raises(LookupError, match="the inputs of segment 0 are released; the first that are left: 5"):
        first.quantized[0]


def test_outputs_are_those_of_the_last_change_and_what_the_next_visit_reads(model, calibration, context):
    made = apply(model, calibration, context, "minmax")
    before, outputs = model.image_forwards, []
    for visit in walk(model, calibration.images, made, batch=8):
        assert not outputs or visit.quantized is outputs[-1], "nothing is computed twice"
        outputs.append(visit.outputs)
    assert model.image_forwards - before == pytest.approx(len(calibration))
    visit = next(walk(model, calibration.images, made, batch=8))
    stale = visit.outputs
    model.quantizers.clear()
    assert visit.outputs is stale
    visit.changed()
    assert not torch.equal(visit.outputs[0], stale[0])


def test_a_network_that_the_walk_does_not_go_through_is_named(model, calibration, context):
    visit = next(walk(model, calibration.images, context(), batch=8))
    with pytest.raises(LookupError, match=r"does not go through the full network: walk\(..., full=True\) does"):
        visit.full[0]


def test_what_operations_read(model, calibration, context):
    made = apply(model, calibration, context, "repqvit(zero_point=rounded)")  # idempotent formats
    for visit in walk(model, calibration.images, made, batch=8, full=True):
        for operation in visit.operations:
            read = torch.cat(list(visit.reads(operation, quantize=True)))
            assert len(read) == len(calibration)
            assert torch.allclose(model.quantizers[operation.operand](read), read, atol=1e-5), "after its quantizer"
            assert not torch.equal(read, torch.cat(list(visit.reads(operation, quantize=False))))
