"""Who runs a process, as the operating system knows."""

from __future__ import annotations

import os
import pwd

from kbsync import identity


def test_the_process_is_named_by_its_user() -> None:
    uid = os.geteuid()
    assert f"{pwd.getpwuid(uid).pw_name} (uid {uid}) on " in identity.of_process()
