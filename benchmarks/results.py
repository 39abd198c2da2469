"""Check every row of results.csv, and draw the tables of README and of docs/ from them."""

from __future__ import annotations

import os
from functools import partial
from typing import Optional, Sequence

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.storage.atomic import write_text

from figures import (
    ablations,
    cards,
    glimpses_chart,
    operators,
    published,
    rows,
    scaling_plan,
    speed_chart,
    tables,
)

tables.TABLES.update(
    cards.CARDS,
    scaling_plan=scaling_plan.plan_table,
    ablations=ablations.ablations_table,
    published=published.published_table,
    shares=operators.shares_table,
    native_shares=partial(operators.shares_table, name="native", parts=list(operators.NATIVE)),
)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Check the rows, then redraw what the flags name."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--csv", default=rows.PATH, metavar="PATH", help="file of the rows")
    parser.add_argument(
        "--readme", nargs="+", default=[], metavar="PATH", help="pages whose tables are redrawn"
    )
    parser.add_argument(
        "--charts", metavar="FOLDER", help="folder of speed.png and ram_glimpses.png, redrawn"
    )
    flags = parser.parse_args(argv)
    try:
        all_rows = rows.read(flags.csv)
        for path in flags.readme:
            with open(path, encoding="utf-8") as file:
                text = file.read()
            write_text(path, tables.rendered(text, all_rows))
        if flags.charts:
            speed_chart.draw(all_rows, os.path.join(flags.charts, "speed.png"))
            glimpses_chart.draw(all_rows, os.path.join(flags.charts, "ram_glimpses.png"))
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from None
    print(f"{len(all_rows)} rows, all complete")


if __name__ == "__main__":
    command(main)
