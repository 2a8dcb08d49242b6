"""What a trial prints goes to its own log."""

import os

from harness.sweep.launch.worker import log_to


def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path):
    elsewhere, log = tmp_path / "elsewhere", tmp_path / "log.txt"
    elsewhere.write_text("mine")
    log.symlink_to(elsewhere)
    with log_to(log):
        os.write(1, b"said\n")
    assert elsewhere.read_text() == "mine"
    assert not log.is_symlink()
    assert log.read_text() == "said\n"
