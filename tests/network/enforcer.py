"""Enforces NetworkPolicies on the cluster's node for as long as a test runs: reads, renders, and tells nftables.

A pod that has just begun is open until it was seen, half a second or so. That is enough for a test that asks again.
What it did is gone when it ends. Killed, it leaves its table; the next run takes that over, or
`docker exec fairlead-control-plane nft delete table ip fairlead_policies` removes it. Used by
`test_network_policies.py`.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hack.demo.cluster import CONTEXT
from kubernetes import config
from kubernetes.client import ApiClient
from tests.network.rules import TABLE, render

NODE = "fairlead-control-plane"
EVERY_S = 0.3
PATHS = ("/apis/networking.k8s.io/v1/networkpolicies", "/api/v1/pods", "/api/v1/namespaces")


@contextmanager
def enforced() -> Iterator[None]:
    """Enforce every policy of the cluster until the block ends; an error in between fails the test."""
    api = config.new_client_from_config(context=CONTEXT)
    done, errors = threading.Event(), list[BaseException]()
    nft(look(api))

    def follow() -> None:
        last = ""
        try:
            while not done.wait(EVERY_S):
                rules = look(api)
                if rules != last:
                    nft(rules)
                last = rules
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        nft(f"table ip {TABLE}\ndelete table ip {TABLE}\n")
    assert not errors, errors


def look(api: ApiClient) -> str:
    """Return the rules for what the cluster holds now."""
    policies, pods, namespaces = (listed(api, path) for path in PATHS)
    return render(policies, pods, namespaces)


def listed(api: ApiClient, path: str) -> list[dict[str, Any]]:
    """Return the objects at a path."""
    said = api.rest_client.pool_manager.request("GET", api.configuration.host + path, timeout=10)
    assert said.status == 200, said.data
    return list(json.loads(said.data)["items"])


def nft(rules: str) -> None:
    """Give the node a ruleset, whole or not at all."""
    command = ["docker", "exec", "--interactive", NODE, "nft", "--file", "-"]
    done = subprocess.run(command, input=rules, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{rules}"
