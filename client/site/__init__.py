"""The hospital that answers requests: data, policy, budget, questions, egress."""
