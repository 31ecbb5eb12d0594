"""What registration is told from outside."""

from pydantic import Field, SecretStr

from base.settings import Settings, secret


class KeySettings(Settings):
    """Settings of a service that keeps personal data."""

    master_key: SecretStr = secret("Wraps the key of each person; keep it where backups of the data are not.")
    index_key: SecretStr = secret("Key of the blind indexes that find a person without knowing them.")
    key_version: int = Field(
        default=1, ge=1, le=255, description="Version of both keys; raise it when you rotate them."
    )
    older_keys: dict[int, tuple[SecretStr, SecretStr]] = Field(
        default_factory=dict,
        description="Keys still alive during a rotation, as JSON: version to [master_key, index_key].",
    )
    intake_unsent: int = Field(
        default=200_000, ge=1, description="Subjects with unsent events beyond which new applications get a 503."
    )
    intake_free: int = Field(
        default=512, ge=0, description="Free megabytes of the database's disk below which they get a 503."
    )
