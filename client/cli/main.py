"""``oncofed-site``: one hospital's side.

Nothing heavy is imported before a command runs, so that ``--help`` is instant.
"""

from __future__ import annotations

from client.cli import appearance as appearance_cli
from client.cli import backup as backup_cli
from client.cli import checkpoint as checkpoint_cli
from client.cli import daemon as daemon_cli
from client.cli import data as data_cli
from client.cli import lifecycle as lifecycle_cli
from client.cli import model as model_cli
from client.cli import monitor as monitor_cli
from client.cli import overlap as overlap_cli
from client.cli import pacs as pacs_cli
from client.cli import predict as predict_cli
from client.cli import privacy as privacy_cli
from client.cli import read as read_cli
from client.cli import study as study_cli
from common.cli.command_line import command_line
from common.cli.guard import guard

HELP = """One hospital: joins a consortium, runs the daemon, keeps the ledger, writes privacy reports.

Research use only - not a medical device.

Examples:

  oncofed-site data check --root manifest.csv

  oncofed-site join north.kit.zip

  oncofed-site start

  oncofed-site pause

  oncofed-site egress --since 7d

  oncofed-site ledger verify

  oncofed-site ledger backup FILE

  oncofed-site study release DIGEST

  oncofed-site checkpoint add FOLDER

  oncofed-site model add FOLDER

  oncofed-site monitor

  oncofed-site predict --in FOLDER --out RESULTS

  oncofed-site read --reader NAME --in FOLDER --out RESULTS

  oncofed-site listen --from PACS --to PACS@HOST:PORT

  oncofed-site privacy report --out reports

  oncofed-site privacy verify reports/REPORT.json

Exit codes: 0 ok, 2 usage, 3 config, 4 data, 5 trust, 6 budget refused, 7 network, 70 bug, 130 interrupted.
"""


app = command_line("oncofed-site", HELP)
daemon_cli.register(app)
privacy_cli.register(app)
backup_cli.register(privacy_cli.ledger_app)
study_cli.register(app)
checkpoint_cli.register(app)
data_cli.register(app)
overlap_cli.register(app)
appearance_cli.register(app)
model_cli.register(app)
lifecycle_cli.register(model_cli.model_app)
monitor_cli.register(app)
predict_cli.register(app)
pacs_cli.register(app)
read_cli.register(app)


def main() -> None:
    """Runs the command line."""
    with guard():
        app()


if __name__ == "__main__":
    main()
