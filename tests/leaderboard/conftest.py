"""One Chromium for all tests of the page."""

import pytest

from tests.leaderboard.chromium import available, started


@pytest.fixture(scope="session")
def browser():
    if not available():
        pytest.skip("no chromium with chromedriver here")
    driver = started()
    yield driver
    driver.quit()
