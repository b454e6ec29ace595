# The cluster and the images; included by the top-level Makefile.
# FAIRLEAD_CACHE, FAIRLEAD_CLUSTER, FAIRLEAD_SOURCE, FAIRLEAD_PORTS: see docs/cluster.md.
CLUSTER := $(or $(PYTHON),python3) -m hack.cluster

.PHONY: cluster cluster-down cluster-load cluster-status images tools control-plane judges argocd promtool docker-up docker-down

cluster: ## Make the kind cluster with gateway, S3 server and metrics; seconds if it is there
	$(CLUSTER) up

cluster-down: ## Remove the cluster and everything it leaves
	$(CLUSTER) down

cluster-load: ## Put our images into the node, those that changed
	$(CLUSTER) load

cluster-status: ## What is up, and what is not
	$(CLUSTER) status

images: ## Build fairlead-operator, -server and -jobs, those whose inputs changed
	$(CLUSTER) images

tools: ## Make kind, kubectl and helm available; prints the folder to put on PATH
	$(CLUSTER) tools

control-plane: ## Make kube-apiserver and etcd available for integration tests; prints their folder
	$(CLUSTER) control-plane

judges: ## Make what judges a status in tests available: kstatus, Flux, Argo CD, Helm 4; prints their folder
	$(CLUSTER) judges

argocd: ## Make what of Argo CD syncs available, for `make test-argo`; prints its folder
	$(CLUSTER) argocd

promtool: ## Make promtool available, which checks alert rules; prints its folder
	$(CLUSTER) promtool

docker-up: ## Install and start a Docker engine where none answers
	$(CLUSTER) docker-up

docker-down: ## Stop the Docker engine that docker-up started
	$(CLUSTER) docker-down
