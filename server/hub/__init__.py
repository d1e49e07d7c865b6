"""The hub as a service: its home, its sites, the processes it keeps alive, the runs it starts and follows."""
