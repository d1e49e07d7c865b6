"""What a site watches of a model in use: three streams, one rule of alarm with a stated rate of false alarms. Pure."""
