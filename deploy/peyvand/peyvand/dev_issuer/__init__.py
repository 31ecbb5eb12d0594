"""The development issuer: OpenID Connect sign-in with a role picker."""
