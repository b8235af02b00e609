"""What the console costs on a full database: `filling` makes one, `pagetimes` asks every page."""
