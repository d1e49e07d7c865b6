"""One run at the hub: enrolment, rounds, aggregation, assessment."""
