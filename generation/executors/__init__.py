"""Who makes the units: threads of this process, processes of this machine, or actors on a cluster."""
