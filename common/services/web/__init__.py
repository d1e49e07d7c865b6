"""What every page that a browser opens on this machine needs: a gate, and a session without a password."""
