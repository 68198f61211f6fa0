"""From tables to conclusions: utilization, what fits, choices, findings."""
