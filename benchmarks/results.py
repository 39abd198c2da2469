"""Check every row of results.csv, and draw the tables of README and of docs/ from them."""

from __future__ import annotations

from typing import Optional, Sequence

from gluon_attention.storage.atomic import write_text

from figures import ablations, cards, chart, plan, published, rows, shares, tables
from figures.flags import Parser

tables.TABLES.update(
    cards.CARDS,
    scaling_plan=plan.plan_table,
    ablations=ablations.ablations_table,
    published=published.published_table,
    shares=shares.shares_table,
)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Do what the flags say."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--csv", default=rows.PATH, metavar="PATH", help="the rows")
    parser.add_argument(
        "--readme", nargs="+", default=[], metavar="PATH", help="files whose tables are drawn anew"
    )
    parser.add_argument("--chart", metavar="PATH", help="a PNG of the speeds, drawn anew")
    flags = parser.parse_args(argv)
    try:
        known = rows.read(flags.csv)
        for path in flags.readme:
            with open(path, encoding="utf-8") as file:
                text = file.read()
            write_text(path, tables.rendered(text, known))
        if flags.chart:
            chart.draw(known, flags.chart)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{len(known)} rows, all complete")


if __name__ == "__main__":
    main()
