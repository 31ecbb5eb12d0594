"""The local cluster: embedded Kafka and MongoDB, the processes of the platform, and their supervisor."""
