"""The legal moves of a run and of a step, as data.

Theory of operation. Nothing else in cutover decides what may follow what. A row is (trigger, from, to). The engine
asks `machine.move` for the next state *before* it records the move; the journal makes the record durable before
anything acts on it; and every state seen anywhere is the fold of those records. An illegal move raises and changes
nothing. The diagrams in docs/states.md are made from these rows.

A run is *preparing* until every host is reached, claimed and checked. `refused` means that it ended there and nothing
was done. While *held*, nothing new begins; what is under way ends. Going back is the same engine walking the undo
edges, and is held in the same way.

A step *in doubt* may or may not have been done: no move leads out of it without a probe or a person. A step that was
skipped may still have begun before, so it too can be undone.
"""

RUN_STATES = (
    "preparing",
    "running",
    "held",
    "going_back",
    "back_held",
    "done",
    "rolled_back",
    "refused",
)
RUN_ENDED = frozenset({"done", "rolled_back", "refused"})

RUN_MOVES = (
    ("start", "preparing", "running"),
    ("refuse", "preparing", "refused"),
    ("hold", "preparing", "held"),
    ("hold", "running", "held"),
    ("release", "held", "running"),
    ("go_back", "preparing", "going_back"),
    ("go_back", "running", "going_back"),
    ("go_back", "held", "going_back"),
    ("hold", "going_back", "back_held"),
    ("release", "back_held", "going_back"),
    ("finish", "running", "done"),
    ("finish", "going_back", "rolled_back"),
)

STEP_STATES = (
    "pending",
    "checking",
    "acting",
    "failed",
    "in_doubt",
    "done",
    "skipped",
    "undoing",
    "undo_failed",
    "undo_in_doubt",
    "undone",
)
STEP_SETTLED = frozenset({"done", "skipped"})

STEP_MOVES = (
    ("check", "pending", "checking"),
    ("check", "checking", "checking"),  # after a crash: the guards again, the world moved while nobody looked
    ("check", "acting", "checking"),
    ("check", "failed", "checking"),
    ("check", "in_doubt", "checking"),
    ("act", "checking", "acting"),
    ("finish", "acting", "done"),
    ("fail", "checking", "failed"),
    ("fail", "acting", "failed"),
    ("doubt", "checking", "in_doubt"),
    ("doubt", "acting", "in_doubt"),
    ("skip", "pending", "skipped"),
    ("skip", "acting", "skipped"),  # every host of it was left out meanwhile
    ("skip", "failed", "skipped"),
    ("skip", "in_doubt", "skipped"),
    ("undo", "checking", "undoing"),
    ("undo", "acting", "undoing"),
    ("undo", "failed", "undoing"),
    ("undo", "in_doubt", "undoing"),
    ("undo", "done", "undoing"),
    ("undo", "skipped", "undoing"),
    ("undo", "undo_failed", "undoing"),
    ("undo", "undo_in_doubt", "undoing"),
    ("finish", "undoing", "undone"),
    ("fail", "undoing", "undo_failed"),
    ("doubt", "undoing", "undo_in_doubt"),
    ("skip", "undo_failed", "undone"),  # left as it is, with a person's reason
    ("skip", "undo_in_doubt", "undone"),
)
