"""`python -m jiidm`."""

from jiidm.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
