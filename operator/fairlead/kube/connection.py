"""Where the API server is and who we are: a service account in a pod, a kubeconfig elsewhere.

One place for both the client and the watch streams, so that they can never speak as two identities.
It reads credentials from files only and never logs them. Called by `app/main.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import kube_config
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, load_incluster_config


class NoConnectionError(Exception):
    """There is no way to reach an API server; the message says what was tried."""


@dataclass(frozen=True)
class Credentials:
    """What a watch stream logs in with; `token` may change over time, so ask again on each login."""

    server: str
    ca_path: str | None
    insecure: bool
    certificate_path: str | None
    private_key_path: str | None
    token: str | None


class Connection:
    """A loaded configuration of the `kubernetes` package, and what it says."""

    def __init__(self, configuration: Any) -> None:
        self.configuration = configuration
        # With trust_env aiohttp asks a thread for proxies on every request; the kubeconfig's proxy-url still holds.
        configuration.client_session_kwargs = {"trust_env": False}

    async def headers(self) -> dict[str, str]:
        """Return the authorization header; a rotated service-account token is read again."""
        value = await self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"authorization": value} if value else {}

    async def credentials(self) -> Credentials:
        """Return the present credentials."""
        config = self.configuration
        token = (await self.headers()).get("authorization", "")
        return Credentials(
            server=config.host,
            ca_path=config.ssl_ca_cert,
            insecure=not config.verify_ssl,
            certificate_path=config.cert_file,
            private_key_path=config.key_file,
            token=token.split(" ", 1)[-1].strip() or None,
        )


async def connect(kubeconfig: str | None = None) -> Connection:
    """Return the connection of this pod's service account, or of a kubeconfig when one is named or nothing else is.

    Raises NoConnectionError.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None and os.environ.get(SERVICE_HOST_ENV_NAME):
            load_incluster_config(client_configuration=configuration)
        else:
            await kube_config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise NoConnectionError(
            f"no API server to talk to: {error}; run in a pod with a service account, or set KUBECONFIG"
        ) from error
    return Connection(configuration)
