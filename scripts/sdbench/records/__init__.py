"""What is kept of each case and race: schema, fingerprint, images."""
