"""`python -m peyvand`."""

import sys

from peyvand.cli import main

if __name__ == "__main__":
    sys.exit(main())
