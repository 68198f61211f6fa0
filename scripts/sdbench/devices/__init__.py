"""What a device is, what it can be asked, and what it counts."""
