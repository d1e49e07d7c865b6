"""How soon a site's monitor sees a change, and how often it alarms for nothing."""
