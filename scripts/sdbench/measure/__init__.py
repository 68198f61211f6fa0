"""What is measured, each in a pass of its own so that none disturbs another."""
