"""How many files a process may have open."""

import subprocess
import sys

PROGRAM = """
import resource
from balancer.runtime.process import raise_descriptor_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
raise_descriptor_limit()
raise_descriptor_limit()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard), resource.getrlimit(resource.RLIMIT_NOFILE)
"""


def test_a_process_takes_all_that_it_may_have() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=30)
