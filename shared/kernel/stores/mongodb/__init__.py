"""The store in MongoDB. Outside this package, only tallies, the audit chain and the key store use pymongo."""

from kernel.stores.mongodb.client import connect, translate_errors
from kernel.stores.mongodb.store import MongoStore

__all__ = ["MongoStore", "connect", "translate_errors"]
