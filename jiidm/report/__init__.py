"""What a person looks at: sheets, plots and tables."""
