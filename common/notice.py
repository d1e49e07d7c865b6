"""What every page, report, record and picture says until somebody declares a medical purpose."""

RESEARCH_USE = "Research use only - not a medical device"
