"""`python -m peyvand`."""

import sys

from peyvand.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
