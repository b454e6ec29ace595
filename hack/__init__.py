"""Cluster, demo and other tools of the project; product code never imports them."""
