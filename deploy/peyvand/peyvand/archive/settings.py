"""Settings of the role `archive`."""

from pathlib import Path

from pydantic import Field, SecretStr

from base.settings import ProcessSettings, secret


class ArchiveSettings(ProcessSettings):
    """Settings of an archive; that of the wrapped keys has a user, a folder and a key of its own."""

    service: str = Field(default="archive", description="Name of the process.")
    databases: str = Field(description="The databases to archive, separated by commas.")
    archive: Path = Field(description="Folder of the archive, on another disk than the databases.")
    archive_key: SecretStr = secret("Encrypts the archive. Keep it elsewhere: without it nothing can be restored.")
    archive_base_days: float = Field(default=7, gt=0, description="Days after which another base copy is made.")
    archive_keep_days: float = Field(
        default=30,
        gt=0,
        description="Days after which a base copy is removed once there is a newer one, with the changes before that. "
        "An erasure reaches the archive then.",
    )
