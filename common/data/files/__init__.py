"""Folders, paths and tables as archives and spreadsheets write them."""
