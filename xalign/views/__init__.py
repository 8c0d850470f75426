"""Everything that shows a report or a history: tables, figures and the HTML page."""
