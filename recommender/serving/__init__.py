"""From the published view to answers: trending and recommendations. No database is needed here."""
