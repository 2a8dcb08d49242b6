"""What every method must keep to. Each check says the rule and what broke it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from safetensors.torch import load_file

from harness.method.base import Context
from harness.method.registration import Role
from harness.method.stack import Stack, check, parse
from harness.quant.format.affine import Affine
from harness.quant.network.inventory import off_grid_sites
from harness.quant.network.state import load_state, save_state
from harness.testing.applying import (
    apply,
    apply_again,
    bytes_again,
    bytes_of,
    first_difference,
    outcome,
    stack_of,
)
from harness.testing.registration import RegistrationKit
from harness.trial.bits import Bits

if TYPE_CHECKING:
    from harness.data.sets import CalibrationSet
    from harness.quant.network.qmodel import QuantizedModel

LARGEST_ERROR = 0.1  # squared error of w8a8 logits as a share of their squared size; good methods stay below 0.01


class MethodKit(RegistrationKit):
    """Tests of methods: subclass it in a test module and name them.

    Attributes:
        methods: Names (tested with their ``quick`` settings), or names with settings: ``("clip", "clip(share=0.2)")``.
        base: What comes before a method that is no scheme.
        follower: What comes after a scheme, to see that its state can be taken over by another trial.
        bits: Widths of all checks but two: logits are compared at w8a8, and w32a32 must change nothing. A method that acts
            at other widths only is tested at one of them.
    """

    methods: ClassVar[Sequence[str]] = ()
    base: ClassVar[str] = "fqvit"
    follower: ClassVar[str] = "biascorr(form=empirical)"
    bits: ClassVar[str] = "w4a8"

    def named(self) -> Sequence[str]:
        """The methods."""
        return self.methods

    def test_the_written_form_reads_back(self, method: str) -> None:
        """Records keep a stack as text: it must give the same trial again."""
        stack = stack_of(method, self.base)
        again = check(str(stack))
        assert again.identity() == stack.identity(), f"{stack} reads back as {again}: settings must be plain values"

    def test_full_precision_weights_stay_untouched(
        self, method: str, model: QuantizedModel, calibration: CalibrationSet
    ) -> None:
        """Put other weights into ``replaced_weights`` or ``rounded_weights``; never write to the network's own."""
        images = calibration.images[:4]
        before = model.full_precision(images)
        weights = {site: operation.weight.clone() for site, operation in model.weights.items()}
        outcome(stack_of(method, self.base), model, calibration, self.bits, anew=True)
        changed = [site for site, weight in weights.items() if not torch.equal(model.weights[site].weight, weight)]
        assert not changed, f"{method} writes to full-precision weights: {', '.join(changed)}"
        assert torch.equal(model.full_precision(images), before), (
            f"{method} changes what the full-precision network computes"
        )

    def test_state_survives_a_safetensors_file(
        self, method: str, model: QuantizedModel, calibration: CalibrationSet, tmp_path: Path
    ) -> None:
        """Everything a method changes is in the state file: quantizers, corrections, replaced and rounded weights."""
        apply_again(stack_of(method, self.base), model, calibration, self.bits)
        logits, state = model(calibration.images[:4]), bytes_of(model)
        save_state(model, tmp_path / "state.safetensors")
        assert isinstance(load_file(tmp_path / "state.safetensors"), dict)
        model.clear()
        load_state(model, tmp_path / "state.safetensors")
        lost = first_difference(state, bytes_of(model))
        assert not lost, f"the state of {method} is another one after saving and loading: {lost}"
        assert torch.equal(model(calibration.images[:4]), logits), (
            f"{method} has an effect that its state file does not hold: other logits after saving and loading"
        )

    def test_same_seed_gives_the_same_bytes(self, method: str, model: QuantizedModel, calibration: CalibrationSet) -> None:
        """Random numbers come from ``context.generator(purpose)`` only."""
        stack = stack_of(method, self.base)
        outcome(stack, model, calibration, self.bits)
        first = bytes_of(model)
        differs = first_difference(first, bytes_again(stack_of(method, self.base), model, calibration, self.bits))
        assert not differs, f"{method} gives other bytes with the same seed: {differs}; use context.generator('{method}')"

    def test_a_reused_prefix_gives_the_same_bytes(
        self, method: str, model: QuantizedModel, calibration: CalibrationSet, tmp_path: Path
    ) -> None:
        """Trials that begin with the same steps compute them once: the rest must not see the difference."""
        stack = stack_of(method, self.base)
        if "scales" in stack.steps[-1].info.provides and len(stack.steps) == 1:
            stack = check(f"{stack}+{self.follower}")
        outcome(stack, model, calibration, self.bits)
        computed = bytes_of(model)
        model.clear()
        outcome(Stack(stack.steps[:-1]), model, calibration, self.bits)
        save_state(model, tmp_path / "prefix.safetensors")
        model.clear()
        load_state(model, tmp_path / "prefix.safetensors")
        apply(check(str(stack)).steps[-1:], model, calibration, self.bits)
        differs = first_difference(computed, bytes_of(model))
        assert not differs, f"{stack}: the last step does something else on a loaded state than on a computed one: {differs}"

    def test_32_bits_are_the_identity(self, method: str, model: QuantizedModel, calibration: CalibrationSet) -> None:
        """At w32a32 nothing is quantized, so nothing may change: install no quantizer at 32 bits."""
        apply(stack_of(method, self.base).steps, model, calibration, bits="w32a32")
        logits = model.full_precision(calibration.images)
        assert torch.equal(model(calibration.images), logits), f"{method} changes the logits at w32a32"

    def test_no_access_to_evaluation_data(self, method: str, model: QuantizedModel, calibration: CalibrationSet) -> None:
        """Under the strict protocol a method sees calibration images only, and does without ``context.evaluate``."""
        stack = stack_of(method, self.base)
        assert stack.protocol == "strict", f"{method} declares protocol {stack.protocol}: test it with strict settings"
        assert not hasattr(calibration, "labels"), "calibration sets have no labels"
        assert Context(Bits.parse("w4a8")).evaluate is None
        outcome(stack, model, calibration, self.bits)  # in contexts like that

    def test_weights_take_integer_codes_or_say_so(
        self, method: str, model: QuantizedModel, calibration: CalibrationSet
    ) -> None:
        """A weight has at most 2^bits values a channel, on its quantizer's grid, or is among the off-grid sites."""
        outcome(stack_of(method, self.base), model, calibration, self.bits)
        off_grid = set(off_grid_sites(model))
        for site, operation in model.weights.items():
            quantizer = model.quantizers.get(site)
            if not isinstance(quantizer, Affine) or site in off_grid:
                continue  # formats of another kind keep to their own tests
            rows = operation.quantized_weight().flatten(1)
            most, allowed = max(len(row.unique()) for row in rows), quantizer.levels
            assert most <= allowed, f"{method}: a channel of {site} has {most} values, its codes allow {allowed}"
            codes = rows.double() / quantizer.scale[:, None].double() + quantizer.zero_point[:, None]
            distance = float((codes - codes.round()).abs().max())
            assert distance < 1e-3, f"{method}: {site} is {distance:.3f} steps away from its quantizer's grid"

    def test_logits_stay_finite_and_close(self, method: str, model: QuantizedModel, calibration: CalibrationSet) -> None:
        """At w8a8 the quantized network still is the network."""
        apply(stack_of(method, self.base).steps, model, calibration, bits="w8a8")
        quantized, reference = model(calibration.images), model.full_precision(calibration.images)
        assert torch.isfinite(quantized).all(), f"{method} gives logits that are not finite at w8a8"
        error = float((quantized - reference).square().sum() / reference.square().sum())
        assert error < LARGEST_ERROR, f"{method} at w8a8: squared error of the logits is {error:.3f} of their squared size"

    def test_it_provides_what_it_says(self, method: str, model: QuantizedModel, calibration: CalibrationSet) -> None:
        """``scheme``: quantizers are installed; ``scales``: they are calibrated. Later steps rely on it."""
        stack = stack_of(method, self.base)
        outcome(stack, model, calibration, self.bits)
        (info,) = (step.info for step in stack.steps if step.info.name == parse(method)[0].name)
        quantizers = model.quantizers.values()
        if "scheme" in info.provides:
            assert quantizers, f"{method} provides 'scheme', but installs no quantizer"
        if "scales" in info.provides:
            assert any(quantizer.scale.numel() for quantizer in quantizers), f"{method} provides 'scales', but sets none"
        if info.role is Role.SCHEME and quantizers:
            missing = {"scheme", "scales"} - info.provides
            assert not missing, f"{method} is a scheme with quantizers: add {sorted(missing)} to provides=(...)"
