"""Kafka's users and their rights: who may write and read which topic follows from `contracts.topics` alone."""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from base.kafka_access import MECHANISM, KafkaAccess
from contracts.topics import TOPICS
from kernel.kafka.authentication import refusal
from peyvand.local_cluster.topology import PROJECTION, READER, SERVICES

if TYPE_CHECKING:
    from kafka.admin import KafkaAdminClient

NAMESPACE = "peyvand."  # of our topics and groups
PROPAGATION = 10.0  # seconds in which every broker knows what was changed


class NotAuthorized(Exception):
    """The users of this cluster are managed elsewhere."""


class Acl(msgspec.Struct, frozen=True, order=True):
    """One right of one user. READ and WRITE include DESCRIBE."""

    principal: str  # such as User:market
    operation: str
    resource: str
    name: str
    pattern: str = "LITERAL"
    permission: str = "ALLOW"
    host: str = "*"

    def __str__(self) -> str:
        """Return a text for people."""
        verb = "may" if self.permission == "ALLOW" else "may not"
        name = f"{self.name}{'*' if self.pattern == 'PREFIXED' else ''}"
        host = "" if self.host == "*" else f" from {self.host}"
        return f"{self.principal} {verb} {self.operation} {self.resource.lower()} {name}{host}"

    @property
    def covers_ours(self) -> bool:
        """Return whether it is about topics or groups of ours, or about what no declared right is about."""
        if self.resource not in ("TOPIC", "GROUP"):
            return True
        ours = self.name.startswith(NAMESPACE) or self.name == "*"
        return ours or (self.pattern == "PREFIXED" and NAMESPACE.startswith(self.name))


def declared_acls() -> frozenset[Acl]:
    """Return the rights of the services and of the reader.

    A service writes its own topic, reads what it consumes, and its own topic when its store was restored.
    """
    acls = {Acl(f"User:{topic.producer}", "WRITE", "TOPIC", topic.name) for topic in TOPICS}
    for topic in TOPICS:
        for user in (topic.producer, *topic.consumers, READER):
            acls.add(Acl(f"User:{user}", "READ", "TOPIC", topic.name))
    for service in SERVICES:
        groups = f"{NAMESPACE}{service}{'_' if service == PROJECTION else '.'}"  # `_` and a digest, a generation's
        acls.add(Acl(f"User:{service}", "READ", "GROUP", groups, "PREFIXED"))
    return frozenset(acls)


def update(
    kafka: KafkaAccess,
    passwords: Mapping[str, str],
    declared: Collection[Acl],
    super_users: Collection[str],
    *,
    diff: bool = False,
) -> list[str]:
    """Create these users, set their passwords, and make their rights the declared ones; return the differences.

    With `diff` change nothing, and return also rights that are not declared, and users that are neither declared nor
    super users, whom the brokers' own settings name. Rights of other users are never changed. Raise NotAuthorized.
    """
    from kafka.admin import KafkaAdminClient
    from kafka.errors import ClusterAuthorizationFailedError, SecurityDisabledError

    client = KafkaAdminClient(**kafka.options())
    try:
        acls = _acls(client)  # first: a user who may not ask for users gets no answer
        mechanisms = _mechanisms(client)
        users = _usable(mechanisms)
        principals = {f"User:{name}" for name in passwords}
        missing = sorted(set(declared) - acls)
        undeclared = sorted(acl for acl in acls - set(declared) if acl.principal in principals or acl.covers_ours)
        different = [f"Kafka user {name} is missing" for name in sorted(passwords.keys() - users)]
        different += [f"ACL is missing: {acl}" for acl in missing]
        different += [
            f"Kafka user {name} has another password"
            for name in sorted(users & passwords.keys())
            if asyncio.run(refusal(kafka.as_user(name, passwords[name])))
        ]
        if diff:
            strangers = mechanisms.keys() - passwords.keys() - set(super_users)
            different += [f"Kafka user {name} is not declared" for name in sorted(strangers)]
            different += [
                f"Kafka user {name} has also a password for {other}"
                for name in sorted(mechanisms.keys() & passwords.keys())
                for other in sorted(mechanisms[name] - {MECHANISM})
            ]
            return different + [f"ACL is not declared: {acl}" for acl in undeclared]
        revoked = [acl for acl in undeclared if acl.principal in principals]
        _change(client, passwords, missing, revoked)
        deadline = time.monotonic() + PROPAGATION
        while not (
            passwords.keys() <= _usable(_mechanisms(client)) and _acls(client) & {*missing, *revoked} == set(missing)
        ):
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kafka does not know its new users and rights after {PROPAGATION:.0f} s")
            time.sleep(0.05)
        return different + [f"ACL is not declared: {acl}" for acl in revoked]
    except (ClusterAuthorizationFailedError, SecurityDisabledError) as e:
        raise NotAuthorized(str(e)) from e
    finally:
        client.close()


def _change(
    client: "KafkaAdminClient", passwords: Mapping[str, str], missing: Collection[Acl], revoked: Collection[Acl]
) -> None:
    """Set the passwords, give and take rights. Raise RuntimeError where Kafka refuses one."""
    from kafka import admin

    results = client.alter_user_scram_credentials(
        [
            admin.UserScramCredentialUpsertion(user, admin.ScramMechanism.SCRAM_SHA_512, password.encode())
            for user, password in passwords.items()
        ]
    )
    if refused := {user: error for user, error in results.items() if error}:
        raise RuntimeError(f"Kafka refuses users: {refused}")
    if missing and (failed := client.create_acls([_kafka_acl(acl) for acl in missing])["failed"]):
        raise failed[0](f"Kafka refuses {len(failed)} of {len(missing)} ACLs")
    if revoked:
        client.delete_acls([_kafka_acl(acl) for acl in revoked])


def _mechanisms(client: "KafkaAdminClient") -> dict[str, set[str]]:
    """Return the mechanisms for which each user has a password, as Kafka calls them."""
    users = client.describe_user_scram_credentials()
    return {
        name: {c["mechanism"].name.replace("_", "-") for c in each["credential_infos"]} for name, each in users.items()
    }


def _usable(mechanisms: Mapping[str, Collection[str]]) -> set[str]:
    return {name for name, each in mechanisms.items() if MECHANISM in each}


def _acls(client: "KafkaAdminClient") -> set[Acl]:
    from kafka import admin

    everything = admin.ResourcePatternFilter(admin.ResourceType.ANY, None, admin.ACLResourcePatternType.ANY)
    operation, permission = admin.ACLOperation.ANY, admin.ACLPermissionType.ANY
    found, _ = client.describe_acls(admin.ACLFilter(None, None, operation, permission, everything))
    return {
        Acl(
            acl.principal,
            acl.operation.name,
            acl.resource_pattern.resource_type.name,
            acl.resource_pattern.resource_name,
            acl.resource_pattern.pattern_type.name,
            acl.permission_type.name,
            acl.host,
        )
        for acl in found
    }


def _kafka_acl(acl: Acl) -> Any:
    from kafka import admin

    pattern = admin.ACLResourcePatternType[acl.pattern]
    resource = admin.ResourcePattern(admin.ResourceType[acl.resource], acl.name, pattern)
    operation, permission = admin.ACLOperation[acl.operation], admin.ACLPermissionType[acl.permission]
    return admin.ACL(acl.principal, acl.host, operation, permission, resource)
