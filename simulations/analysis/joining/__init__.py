"""What joining gives a hospital of so many patients, measured on divisions of public data before anybody joins."""
