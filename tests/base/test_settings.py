"""Settings: a process starts only with valid ones, and names those that are not."""

import ssl
from pathlib import Path

import pytest

from base.settings import Settings, load, table
from registration.settings import RegistrationSettings

STRONG = "7f3b1a9c5d2e8f4071b6c3a95e0d2f84"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a process in production."""
    variables = {
        "SERVICE": "registration",
        "KAFKA": "kafka:9092",
        "KAFKA_USER": "registration",
        "KAFKA_PASSWORD": STRONG,
        "MONGO": f"mongodb://registration:{STRONG}@a:1,b:2/?tls=true",
        "DATABASE": "registration",
        "JWKS": "/etc/peyvand/jwks.json",
        "FINGERPRINT_KEY": STRONG,
        "MASTER_KEY": STRONG,
        "INDEX_KEY": STRONG,
        "TRACKING_KEY": STRONG,
        "CLIENT_SECRET": STRONG,
        "SMS_URL": "https://sms.example/v1",
        "SMS_KEY": STRONG,
        "PRODUCERS": "screening=http://screening-api:8000/screening",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"PEYVAND_{name}", value)
    return monkeypatch


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a process prints that exits because of its settings."""
    with pytest.raises(SystemExit) as exit:
        load(RegistrationSettings)
    assert exit.value.code == 2
    return capsys.readouterr().err


def test_production_starts_with_complete_settings() -> None:
    settings = load(RegistrationSettings)

    assert settings.environment == "production" and not settings.development
    assert settings.jwks == Path("/etc/peyvand/jwks.json")


@pytest.mark.parametrize(
    "name", ["MASTER_KEY", "INDEX_KEY", "TRACKING_KEY", "FINGERPRINT_KEY", "KAFKA_PASSWORD", "SMS_KEY"]
)
@pytest.mark.parametrize(
    "value", [None, "", "development", "development-but-longer-than-32-characters", "short", "a" * 40]
)
def test_missing_or_weak_secret_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str | None
) -> None:
    if value is None:
        environment.delenv(f"PEYVAND_{name}")
    else:
        environment.setenv(f"PEYVAND_{name}", value)

    assert f"PEYVAND_{name} must" in error_of(capsys)


def test_development_has_default_secrets(environment: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_KEY", "INDEX_KEY", "TRACKING_KEY", "FINGERPRINT_KEY"):
        environment.delenv(f"PEYVAND_{name}")
    environment.setenv("PEYVAND_ENVIRONMENT", "development")

    assert load(RegistrationSettings).master_key.get_secret_value() == "development"


@pytest.mark.parametrize("url", [None, "", "http://sms.example/v1"])
def test_production_sends_messages_by_a_provider(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str | None
) -> None:
    if url is None:
        environment.delenv("PEYVAND_SMS_URL")
    else:
        environment.setenv("PEYVAND_SMS_URL", url)
    assert "PEYVAND_SMS_URL must be an https:// address" in error_of(capsys)


def test_production_writes_no_message_to_a_file(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("PEYVAND_SMS_FILE", "/run/sms.jsonl")
    assert "PEYVAND_SMS_FILE is set" in error_of(capsys)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (f"mongodb://u:{STRONG}@db/", "must have tls=true"),
        (f"mongodb://u:{STRONG}@db/?tls=false", "must have tls=true"),
        (f"mongodb://u:{STRONG}@db/?tls=true&tlsInsecure=true", "must not have tlsinsecure"),
        (f"mongodb://u:{STRONG}@db/?ssl=true&tlsAllowInvalidCertificates=true", "must not have tlsallowinvalidcert"),
        (f"mongodb://u:{STRONG}@db/?TLS=true&tlsAllowInvalidHostnames=true", "must not have tlsallowinvalidhostnames"),
        ("mongodb://db/?tls=true", "must have a user"),
        ("mongodb://u@db/?tls=true", "must have a user"),
        ("mongodb://u:secret@db/?tls=true", "32 characters"),
        (f"mongodb://u:{'secret%20' * 8}@db/?tls=true", "must be random"),
        ("mongodb://db/?tls=true&authMechanism=MONGODB-X509", "tlsCertificateKeyFile"),
    ],
)
def test_an_open_mongodb_is_refused_outside_development(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, error: str
) -> None:
    environment.setenv("PEYVAND_MONGO", url)
    shown = error_of(capsys)
    assert "PEYVAND_MONGO" in shown and error in shown and STRONG not in shown
    environment.setenv("PEYVAND_ENVIRONMENT", "development")
    assert load(RegistrationSettings)


@pytest.mark.parametrize(
    "url",
    [
        f"mongodb://u:{STRONG}@db/?tls=true&tlsCAFile=/ca.pem",
        f"mongodb+srv://u:{STRONG}@db/",
        "mongodb://db/?tls=true&authMechanism=MONGODB-X509&tlsCertificateKeyFile=/registration.pem",
    ],
)
def test_an_encrypted_mongodb_with_a_user_is_accepted(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("PEYVAND_MONGO", url)
    assert load(RegistrationSettings)


def test_plaintext_to_kafka_is_refused_outside_development(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("PEYVAND_KAFKA_USER")
    assert "PEYVAND_KAFKA_USER must be set" in error_of(capsys)
    environment.setenv("PEYVAND_ENVIRONMENT", "development")
    assert load(RegistrationSettings).kafka_access.options() == {"bootstrap_servers": "kafka:9092"}


def test_the_options_of_a_client_of_kafka_are_tls_and_scram() -> None:
    options = load(RegistrationSettings).kafka_access.options()
    assert (options["security_protocol"], options["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("registration", STRONG)
    assert options["ssl_context"].verify_mode is ssl.CERT_REQUIRED and options["ssl_context"].check_hostname


def test_all_weak_variables_are_named_at_once(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("MASTER_KEY", "KAFKA_PASSWORD"):
        environment.setenv(f"PEYVAND_{name}", "password" * 5)
    shown = error_of(capsys)
    assert "PEYVAND_MASTER_KEY must be random" in shown and "PEYVAND_KAFKA_PASSWORD must be random" in shown


def test_settable_clock_is_refused_outside_development(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("PEYVAND_CLOCK", "/run/clock.json")

    assert "PEYVAND_CLOCK" in error_of(capsys)

    environment.setenv("PEYVAND_ENVIRONMENT", "development")
    assert load(RegistrationSettings).clock == Path("/run/clock.json")


def test_every_missing_variable_is_named_at_once(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KAFKA", "MONGO", "JWKS"):
        environment.delenv(f"PEYVAND_{name}")

    error = error_of(capsys)

    assert all(f"PEYVAND_{name}: must be set" in error for name in ("KAFKA", "MONGO", "JWKS"))


def test_unknown_variable_is_named_outside_development(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("PEYVAND_LOG_LEVLE", "debug")

    assert "PEYVAND_LOG_LEVLE" in error_of(capsys)

    environment.setenv("PEYVAND_ENVIRONMENT", "development")
    assert load(RegistrationSettings)


def test_secrets_are_never_shown(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load(RegistrationSettings)
    assert STRONG not in repr(settings) and STRONG not in repr(settings.kafka_access)

    environment.setenv("PEYVAND_MASTER_KEY", "too-short-secret")
    environment.setenv("PEYVAND_PORT", "many")
    error = error_of(capsys)
    assert "too-short-secret" not in error and STRONG not in error and "PEYVAND_PORT" in error


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(RegistrationSettings).port = 1


def test_table_lists_every_setting() -> None:
    lines = table(RegistrationSettings).splitlines()

    assert len(lines) == 2 + len(RegistrationSettings.model_fields)
    assert all(
        f"`PEYVAND_{name.upper()}`" in line
        for name, line in zip(RegistrationSettings.model_fields, lines[2:], strict=True)
    )
    assert all(field.description for field in Settings.model_fields.values())
    assert "development" not in next(line for line in lines if "MASTER_KEY" in line).split("|")[2].replace(
        "outside development", ""
    )
