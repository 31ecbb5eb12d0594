"""`python -m run screening api|worker`: run one role of one service.

What the other role needs is not imported: an API loads no Kafka client, a worker no web framework.
"""

import sys
from importlib import import_module

ROLES = ("api", "worker")


def main(arguments: list[str]) -> None:
    """Run a role until SIGTERM or SIGINT; exit with 2 where the arguments are wrong."""
    if len(arguments) != 2 or arguments[1] not in ROLES:
        sys.exit("usage: python -m run SERVICE api|worker")
    name, role = arguments
    try:
        service = import_module(f"{name}.service").service
    except ModuleNotFoundError as e:
        if e.name not in (name, f"{name}.service"):
            raise
        sys.exit(f"run: there is no service {name!r}: no module {name}.service")
    if role == "api":
        from run.api import run_api as run
    else:
        from run.worker import run_worker as run
    run(service)


if __name__ == "__main__":
    main(sys.argv[1:])
