"""What every job needs, whatever it computes."""
