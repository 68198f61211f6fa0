"""The page: tables, figures, images and records in, one HTML file out that opens offline."""
