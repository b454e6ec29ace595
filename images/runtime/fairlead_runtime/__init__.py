"""What runs in the pods that Fairlead starts: snapshot, train, evaluate, serve, monitor, and the store they share.

It knows `fairlead.contract` and nothing else of the operator, and never speaks to Kubernetes.
"""
