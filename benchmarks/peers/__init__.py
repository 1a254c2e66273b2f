"""The same job done by the service and in the ways in which somebody would do it without, on one machine in one run."""
