"""The processes of a hospital: daemon, SuperNode, worker."""
