"""The commented spec that `flockcast init` writes: whoever edits the column mapping alone has a working experiment."""

import json
from typing import Literal

Kind = Literal["long", "wide", "trips", "od"]

COLUMNS: dict[Kind, str] = {
    "long": """\
kind = "long"                # one row per series and time; others: "wide", "trips", "od"

[data.columns]
id = "unique_id"             # which series a row belongs to
time = "ds"                  # when
values = "y"                 # what was measured; several variables: ["inflow", "outflow"]
""",
    "wide": """\
kind = "wide"                # one row per time, one column per series; others: "long", "trips", "od"
variable = "y"               # what the numbers are

[data.columns]
time = "time"                # when; two columns are joined: ["date", "clock"]
values = "rest"              # every other column is a series; or name them: ["north", "south"]
ignore = []                  # columns that are none, such as a total
""",
    "trips": """\
kind = "trips"               # one row per trip; others: "od" (counts between zones), "long", "wide"

[data.columns]
start = "started_at"         # when a trip began
end = "ended_at"             # when it ended
source = "start_zone"        # where it began
target = "end_zone"          # where it ended
""",
    "od": """\
kind = "od"                  # one row per interval, source and target; others: "trips", "long", "wide"

[data.columns]
time = "time"                # the interval's beginning
source = "source"            # from where
target = "target"            # to where
weight = "weight"            # how many
""",
}

# keys of [data] that only some kinds have, with their explanation
EXTRA: dict[Kind, str] = {
    "long": """\
# interval = "auto"          # found in the data; or "15m", "1h", "1d", "1w", "1mo"
# values = "real"            # "counts" are never negative, and neither are their forecasts
# difference = false         # true: running totals become what came anew in each step
""",
    "wide": """\
# interval = "auto"          # found in the data; or "15m", "1h", "1d", "1w", "1mo"
# values = "real"            # "counts" are never negative, and neither are their forecasts
# difference = false         # true: running totals become what came anew in each step
""",
    "trips": """\
# interval = "1h"            # trips are counted in steps of this length
# max_trip_hours = 24        # longer trips are rejected
""",
    "od": """\
# interval = "1h"            # counts are added up in steps of this length
""",
}

COUNTED_PEOPLE = """\
# [privacy]                  # of values = "counts" of people: a promise to them; it needs start and end, and a budget
# mechanism = "release"      # counts are noised once, and all the rest reads what was released
# unit = "user_day"          # what one person does in a day
# one_place_per_step = true  # your word: a person is in one place at a time and counts once a step
# epsilon = 1.0
"""

TEMPLATE = """\
# A flockcast experiment. Uncommented lines are yours to edit; a line with # shows a default.
# Check it with `flockcast check {file}`, run it with `flockcast run {file}`.
name = "{name}"

[data]
files = {files}
timezone = "{timezone}"             # of times without an offset, and of days and weeks: "Europe/Paris"
{extra}# start = 2024-01-01         # what lies before or from `end` on does not count
# end = 2025-01-01
# max_rejected_share = 0.05  # the run stops when more rows than this are unusable
{columns}
# [data.zones]               # what is known of each series or zone; coordinates make maps
# file = "zones.csv"
# id = "zone"
# label = "name"
# latitude = "lat"
# longitude = "lon"

[task]
# target = "all"             # or some variables: ["inflow"]
# horizon = "auto"           # steps to forecast
# window = "auto"            # past steps that the model reads
# busiest = 30               # only the series with the largest training totals
# country = "FR"             # whose holidays count; with a subdivision: "US-NY"
# forecast = "nodes"         # of trips and od also "flows": every pair instead of what leaves and reaches each node
# split = {{ validation = 0.1, test = 0.2 }}  # the last part tests; a share, or a number of steps

[model]
name = "gru"                 # "lstm", "gru", "bilstm", "bigru", "regenn", "evolvegcn", "gcn", "graph-recurrent",
                             # "dlinear", "stid"
                             # and, where task.forecast = "flows", "evolvegcn-flows"
# hidden = 128
# dropout = 0.2

[training]
# epochs = 50
# patience = 8               # epochs without a better validation loss before training stops
# learning_rate = 0.002
# batch_size = "auto"         # samples in an optimizer step
# seed = 0

[evaluation]
# interval_level = 0.9       # the share of truths that intervals should hold
# intervals = "split"        # "adaptive" follows drift
# refits = 1                 # how often the models are fitted anew along the test range

[registry]
# metric = "mae"
# min_improvement = 0.01     # a challenger must be better by this share to become champion

{privacy}"""

# the promise that suits a kind of data, to be uncommented as a whole; it has no defaults
PRIVACY: dict[Kind, str] = {
    "trips": """\
# [privacy]                  # a promise to the people in the data; it needs zones, start and end above, and a budget
# mechanism = "release"      # counts are noised once, and all the rest reads what was released
# unit = "user_day"          # what one person does in a day; "trip" where no column says whose a trip is
# person = "rider_id"
# trips_per_unit = 4         # of a person in a day so many trips count, the others do not
# epsilon = 1.0
""",
    "od": """\
# [privacy]                  # a promise to the people in the data; it needs zones, start and end above, and a budget
# mechanism = "release"      # counts are noised once, and all the rest reads what was released
# unit = "trip"
# epsilon = 1.0
""",
    "long": COUNTED_PEOPLE,
    "wide": COUNTED_PEOPLE.replace("start and end,", "start, end, columns named,"),
}


def spec_template(kind: Kind, *, name: str, files: str, timezone: str = "UTC", file: str = "flockcast.toml") -> str:
    return TEMPLATE.format(
        file=file,
        name=name,
        files=json.dumps(files),
        timezone=timezone,
        extra=_before_columns(kind) + EXTRA[kind],
        columns="\n" + _columns(kind),
        privacy=PRIVACY[kind],
    )


def _before_columns(kind: Kind) -> str:
    return COLUMNS[kind].split("\n[data.columns]")[0]


def _columns(kind: Kind) -> str:
    return "[data.columns]" + COLUMNS[kind].split("[data.columns]")[1]
