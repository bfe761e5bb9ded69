"""The commented spec that `flockcast init --kind edges` writes: links, and in comments what tells classes."""

import json

TEMPLATE = """\
# A flockcast experiment on a dynamic graph. Uncommented lines are yours to edit; a line with # shows a default.
# Check it with `flockcast check {file}`, run it with `flockcast run {file}`.
name = "{name}"

[data]
kind = "edges"               # one row per event between two nodes; equal pairs of a step become one edge
files = {files}
interval = "1d"              # length of a step: "1h", "1w", "1mo"; "1200000s", seconds from the first event;
                             # "rank", one step per distinct time, which may be plain numbers: 1, 2, 3
# epoch = "s"                # where times are numbers that count since 1970: "s", "ms" or "us"
timezone = "{timezone}"             # of times without an offset, and of days and weeks: "Europe/Paris"
# has_header = true          # false: columns are called column_0, column_1, ...
# symmetrise = true          # every event counts in both directions
# keep_self_loops = true     # an edge from a node to itself counts
# max_rejected_share = 0.05  # the run stops when more rows than this are unusable

[data.columns]
source = "source"            # from which node
target = "target"            # to which node
time = "time"                # when
# weight = "weight"          # how much; every row counts 1 where there is none
# label = "rating"           # of task "edge_labels": class 1 is where more of an edge's ratings lie above 0

# [data.nodes]               # what is known of nodes: their classes for task "node_labels", features for any task
# files = "nodes.csv"
# columns = {{ node = "node", label = "class", features = ["size", "age"] }}  # and time, where they change

[task]
kind = "links"               # which pairs are linked in the next step
                             # "edge_labels": of which class each edge of a step is; needs data.columns.label
                             # "node_labels": of which class each node of a step is; needs [data.nodes] with a label
# window = 11                # steps that the model reads
# split = {{ validation = 0.1, test = 0.2 }}  # the last part tests; a share, or a number of steps
# top = 1000                 # of "links" alone: pairs that a forecast lists
# minority = 0               # of classes: the rare one, whose F1 counts; 0 or 1 of edges, of nodes its name

[model]
name = "evolvegcn"           # or "gcn", the newest step alone; "gcn_gru", with a GRU along time
# variant = "H"              # of evolvegcn: its weights evolve by what the nodes show; of "O" by themselves
# hidden = 64
# pair_memory = false        # of links and edges; true: the head also reads what is remembered of a pair
# stacked = false            # of links, with pair_memory: on top of the best rule that remembers, mostly the best

[training]
# epochs = 100
# patience = 20              # validations without a better score before training stops
# learning_rate = 0.005
# negatives = 50             # of links: pairs without one for each link
# seed = 0

[registry]
# metric = "auto"            # of links "map" or "mrr", of classes "minority_f1" or "micro_f1"
# min_improvement = 0.01     # a challenger must be better by this share to become champion
"""


def graph_template(*, name: str, files: str, timezone: str = "UTC", file: str = "flockcast.toml") -> str:
    return TEMPLATE.format(file=file, name=name, files=json.dumps(files), timezone=timezone)
