"""`python -m editing.worker`: the process that builds and measures; see `process.py`."""

import sys

from editing.worker.process import main

if __name__ == "__main__":
    sys.exit(main())
