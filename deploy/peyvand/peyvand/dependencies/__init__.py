"""What Peyvand is built from: the locked components, their bill of materials, and their known vulnerabilities."""
