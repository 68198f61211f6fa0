"""The page: tables, figures, pictures and records in, one HTML file out that opens offline."""
