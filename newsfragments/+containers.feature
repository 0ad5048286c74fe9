``packaging/docker`` has a Dockerfile, and a compose file with a listener, two workers, Prometheus and Grafana. docs/howto/containers.rst
shows layouts for Docker and Kubernetes.
