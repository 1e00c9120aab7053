"""When a worker is taken for deaf."""

import pytest

from workers.process.watchdog import DEAF_AFTER, is_deaf


@pytest.mark.parametrize(
    ("waiting", "running", "silent_for", "deaf"),
    [
        (1, 0, DEAF_AFTER, True),
        (1, 15, DEAF_AFTER + 100, True),
        (0, 0, 10**6, False),  # nothing to hear
        (1, 16, 10**6, False),  # no room
        (5, 0, DEAF_AFTER - 0.1, False),  # not for long
    ],
)
def test_a_worker_is_deaf_when_messages_wait_and_none_comes(waiting: int, running: int, silent_for: float, deaf: bool) -> None:
    assert is_deaf(waiting, running, 16, silent_for) is deaf
