"""`python -m jiidm`."""

import os
import sys

if __name__ == "__main__":
    # Python puts the working folder before all others, and a random.py there would be taken for Python's own.
    if not getattr(sys.flags, "safe_path", False) and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
        del sys.path[0]
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # for the processes that Jittor starts, from Python 3.11 on
    from jiidm.cli.main import main

    raise SystemExit(main())
