"""The steps of a rotation, as changes of the secrets: the new keys beside the present ones, in use, and alone.

Between two steps every process must know the keys of both: what one stores the others have to read.
"""

from collections.abc import Callable

from msgspec.structs import replace

from peyvand.local_cluster.workspace import Secrets
from security.encryption import LAST_VERSION


def prepare(secrets: Secrets, new_key: Callable[[], str]) -> Secrets:
    """Add new keys under the next version, unless a rotation has begun; nothing uses them yet."""
    if secrets.older_keys or secrets.key_version >= LAST_VERSION:
        return secrets
    return replace(secrets, older_keys={secrets.key_version + 1: (new_key(), new_key(), new_key())})


def switch(secrets: Secrets) -> Secrets:
    """Use the newest keys, and keep the others beside them."""
    version = max(secrets.older_keys, default=0)
    if version <= secrets.key_version:
        return secrets
    former = {secrets.key_version: (secrets.master_key, secrets.index_key, secrets.tracking_key)}
    others = {each: keys for each, keys in secrets.older_keys.items() if each != version}
    master, index, tracking = secrets.older_keys[version]
    return replace(
        secrets,
        key_version=version,
        master_key=master,
        index_key=index,
        tracking_key=tracking,
        older_keys={**others, **former},
    )


def finish(secrets: Secrets) -> Secrets:
    """Remove the former keys; tracking codes that were issued under them stay valid."""
    tracking = {version: keys[2] for version, keys in secrets.older_keys.items()}
    return replace(secrets, older_keys={}, former_tracking_keys={**secrets.former_tracking_keys, **tracking})


def versions(secrets: Secrets) -> tuple[int, ...]:
    """Return the versions that a process with these secrets knows, the one in use first."""
    return secrets.key_version, *sorted(secrets.older_keys)
