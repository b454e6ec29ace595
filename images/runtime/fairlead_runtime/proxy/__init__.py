"""The proxy in front of a user's own server: counts, captures, stamps lineage, drains; whatever the server is made of.

It runs as a native sidecar from the server's image. Bodies go through as they are, piece by piece; it must never wait
for a capture, retry what may not be sent twice, or hide that the user's server failed.
Layers, each knowing only those above it: `heads`, `bodies`, `capture`, `readiness` -> `exchange` (one request and its
answer) -> `upstream` (the user's server), `client` (who asks) -> `process`.
"""
