"""The evaluation as a page, a markdown table and a CSV file."""
