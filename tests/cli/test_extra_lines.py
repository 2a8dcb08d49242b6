"""The summary says what integers can compute and why, names both loops of a search, and passes warnings on."""

from harness.cli.actions.extra_lines import fewer_images, grid_lines, loops, warnings

FOLDED = "bias correction: the gain folds into the scale"
RECORD = {
    "on_grid": False,
    "off_grid_sites": ["a", "b"],
    "grid": [
        {"tensors": "weights", "grid": "integer after folding", "reason": FOLDED, "sites": 14},
        {"tensors": "attention weights", "grid": "integer after folding", "reason": FOLDED, "sites": 12},
        {"tensors": "logits", "grid": "integer", "reason": "", "sites": 1},
    ],
    "floating_point": [{"operation": "softmax", "count": 6}, {"operation": "gelu", "count": 6}],
    "integer_only": False,
    "stages": [{"name": "evolq", "notes": {"warning": "ended below its floor"}}, {"name": "evaluate", "notes": {}}],
}


def test_the_grid_with_reasons():
    first, reason, integer = grid_lines(RECORD)
    assert first == "grid     integer after folding: 26 tensors, integer: 1 tensors"
    assert reason == f"         weights, attention weights: {FOLDED}"
    assert integer == "integer  only: no; in floating point: 6 softmax, 6 gelu"


def test_records_of_earlier_versions():
    old = {"on_grid": False, "off_grid_sites": ["a", "b"]}
    assert grid_lines(old) == ["grid     all tensors on the integer grid: no (2 tensors leave it)"]
    assert grid_lines({"on_grid": True}) == ["grid     all tensors on the integer grid: yes"]


def test_both_loops_are_named():
    notes = {"naive_forward_passes": 1080, "release_forward_passes": 240}
    assert loops(notes) == "paper's loop: 1080, released code's: 240"
    assert loops({"naive_forward_passes": 1080}) == "paper's loop: 1080"
    assert loops({}) == ""


def test_fewer_images_than_published_are_named():
    assert fewer_images({"images_used": 256, "images_wanted": 1024}) == "256 images, published: 1024"
    assert fewer_images({"images_used": 1024, "images_wanted": 1024}) == fewer_images({}) == ""


def test_warnings():
    assert warnings(RECORD) == ["warning  evolq: ended below its floor"]
