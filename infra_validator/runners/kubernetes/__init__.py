"""The Kubernetes platform: the server is a Pod of a cluster."""
