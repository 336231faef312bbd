"""What stands against a run whatever its figures are, and what leaves its figures out of account. Pure.

A policy sets how much of a run has to be on its execution provider; nothing else of it can be waved through.
"""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING

from harness.gates import (
    OWN_DATA,
    GateResult,
    as_number,
    ask,
    row_place,
    run_for,
    stopped_cells,
    text_of,
    worst_in_batch,
)
from harness.rerun import again
from harness.schema import EP_SHARE_MIN, SERVING_METRICS
from harness.units import bound_share_text, bound_text, decimal_text, number_text, share_text

if TYPE_CHECKING:
    from harness.evidence import Row
    from harness.schema import PolicyConfig

# Shares of nodes and of their time on the execution provider that differ by more are both told.
TIME_SHARE_GAP_MAX = 0.1
# Behind what stands against a run, before the command that measures it anew.
_ANEW = "; anew: "


def guards(rows: list[Row], policy: PolicyConfig) -> tuple[list[str], list[str]]:
    """What no policy can wave through: reasons against, and reasons that leave it open."""
    blocks, unknowns = [], []
    for row in rows:
        where = row_place(row)
        if row["status"] in ("failed", "timeout"):
            what = "soak" if row["purpose"] == "soak" else "run"
            blocks.append(f"the {what} failed at {where}: {text_of(row['error'], 'no reason known')}{_ANEW}"
                          f"`{again(row, **{'measure.force': 'true'})}`")  # fmt: skip
            continue
        if row["weights"] != "trained":
            unknowns.append(f"weights are {row['weights']}: quality means nothing")
        if row["status"] == "unavailable":
            continue
        finite = as_number(row["finite"])
        if finite is None and row["weights"] == "trained":
            unknowns.append(f"whether all values are finite is unknown at {where}")
        elif finite == 0:
            blocks.append(f"a vector is not finite at {where}")
        failed = as_number(row["launches_failed"])
        if failed is None:
            unknowns.append(f"whether launches failed is unknown at {where}")
        elif failed:
            error = text_of(row["error"], "no reason known")
            blocks.append(f"{failed:.0f} of {row['launches']} launches failed at {where} ({error}){_ANEW}"
                          f"`{again(row, **{'measure.force': 'true'})}`")  # fmt: skip
        nodes, total = as_number(row["ep_nodes"]), as_number(row["nodes_total"])
        told = 0.0 if nodes == 0 else as_number(row["ep_node_share"])
        share = told if told is None or nodes is None or not total else min(told, nodes / total)
        if told is None or share is None:
            unknowns.append(f"where the nodes ran is unknown at {where}")
        elif not share or share < policy.min_ep_node_share:
            blocks.append(
                f"only {share_text(share, beside=(policy.min_ep_node_share,))} of the nodes run on "
                f"{row['ep']} at {where}, {_share_needed(policy.min_ep_node_share)}"
            )
        elif not isclose(share, told):
            unknowns.append(
                f"where the nodes ran is unknown at {where}: ep_node_share is {told:g}, but {nodes:g} of "
                f"{total:g} are on {row['ep']}"
            )
        time = as_number(row["ep_time_share"])
        if time is None and row["ep"] != "cpu" and policy.min_ep_time_share:
            unknowns.append(_unprofiled(row))
        elif time is not None and (not time or time < policy.min_ep_time_share):
            blocks.append(
                f"only {share_text(time, beside=(policy.min_ep_time_share,))} of the nodes' time is on "
                f"{row['ep']} at {where}, {_share_needed(policy.min_ep_time_share)}"
            )
        parity, bound = as_number(row["parity_cosine_min"]), as_number(row["parity_bound"])
        if parity is None or bound is None:
            if row["weights"] == "trained":
                unknowns.append(f"no parity with the fp32 reference was measured at {where}")
        elif parity < bound:
            blocks.append(
                f"parity with the fp32 reference failed at {where}: worst cosine "
                f"{decimal_text(parity, 6, beside=(bound,))}, needed {bound_text(bound)}"
            )
    return list(dict.fromkeys(blocks)), list(dict.fromkeys(unknowns))


def blocking(row: Row, policy: PolicyConfig) -> list[str]:
    """What of a run no policy can wave through, without the command that measures it anew."""
    return _without_commands(guards([row], policy)[0])


def vectors_asked(row: Row, policy: PolicyConfig) -> list[GateResult]:
    """What a run, wherever it was measured, answers the must gates on vectors that read its batch size.

    Of the user's own data, which it need not be measured on, and of random weights only what is known.
    """
    gates = [g for g in policy.gates if g.tier == "must" and g.metric not in SERVING_METRICS]
    asked = [ask(gate, row) for gate in gates if gate.at.batch_size == row["batch_size"]]
    needed = row["weights"] == "trained"
    return [r for r in asked if r.status != "NOT_MEASURED" or (needed and r.gate.metric not in OWN_DATA)]


def doubts_about(row: Row, policy: PolicyConfig) -> list[str]:
    """Why no figure of a run counts: what stands against it, or is open other than that it is a twin."""
    elsewhere = [r for r in vectors_asked(row, policy) if run_for(r.gate, [row]) is None]
    return [
        *_unfit(row, policy),
        *(f"{sentence(r)}, at {row_place(row)}" for r in elsewhere if r.status == "FAIL"),
    ]


def refused(row: Row, policy: PolicyConfig) -> list[str]:
    """Why a run is no reference: what is faster with other vectors, or not on its provider, is no measure.

    How much of it has to be on its execution provider hangs on no policy: a looser one would let a faster
    reference count, and a GO be a NO_GO.
    """
    waived = policy.model_copy(update={"min_ep_node_share": 0.0, "min_ep_time_share": 0.0})
    return _without_commands(_unfit(row, waived))


def _without_commands(lines: list[str]) -> list[str]:
    return [line.partition(_ANEW)[0] for line in lines]


def _unfit(row: Row, policy: PolicyConfig) -> list[str]:
    blocks, unknowns = guards([row], policy)
    doubts = blocks if row["weights"] != "trained" else [*blocks, *unknowns]
    return [*doubts, *([interrupted_at(row)] if row["status"] == "interrupted" else [])]


def interrupted_at(row: Row) -> str:
    """That a run was interrupted, and where."""
    return f"the run at {row_place(row)} was interrupted"


def time_elsewhere(rows: list[Row], policy: PolicyConfig) -> list[str]:
    """Where the share of the nodes on the execution provider says little about their time."""
    told = []
    for row in rows:
        nodes, time = as_number(row["ep_node_share"]), as_number(row["ep_time_share"])
        if time is None and row["ep"] != "cpu" and not policy.min_ep_time_share:
            told.append(_unprofiled(row))
        if nodes is not None and time is not None and abs(nodes - time) > TIME_SHARE_GAP_MAX:
            told.append(
                f"{share_text(nodes)} of the nodes but {share_text(time)} of their time are on {row['ep']} "
                f"at {row_place(row)}"
            )
    return told


def changed_by_company(rows: list[Row]) -> list[str]:
    """Where a batch does more to a text's vector than its precision may do to the reference's."""
    return [
        f"a text's vector changes with the batch it is in at {row_place(row)}: worst cosine to itself alone "
        f"{decimal_text(worst, 6, beside=(bound,))}, under the {bound_text(bound)} of its parity bound; what "
        "is encoded in batches and searched one by one differs"
        for row in rows
        if (worst := worst_in_batch(row)) is not None
        and (bound := as_number(row["parity_bound"])) is not None
        and worst < bound
    ]


def hardly_there(rows: list[Row], policy: PolicyConfig) -> list[str]:
    """What a policy lets pass though most of it was elsewhere than on the execution provider."""
    asked = [
        ("ep_node_share", "nodes", policy.min_ep_node_share),
        ("ep_time_share", "nodes' time", policy.min_ep_time_share),
    ]
    return [
        f"only {number_text(share, 2, beside=(EP_SHARE_MIN,))} of the {what} on {row['ep']} at "
        f"{row_place(row)}, under the usual "
        f"{EP_SHARE_MIN:g}: the figures are mostly another provider's"
        for row in rows
        for name, what, least in asked
        if (share := as_number(row[name])) and least <= share < EP_SHARE_MIN
    ]


def sentence(result: GateResult) -> str:
    """A gate's answer that is no pass, in words."""
    gate, beside = result.gate, (result.gate.bound,)
    shown, _ = stopped_cells(result.floor_ms, number_text(result.value, beside=beside), "", beside=beside)
    value = "" if result.value is None else f" is {shown}"
    why = f" ({result.reason})" if result.reason else ""
    state = {"FAIL": "fails", "UNDECIDED": "is undecided", "NOT_MEASURED": "was not measured"}
    return (
        f"{gate.tier} gate {state[result.status]}: {gate.label}{value}, "
        f"needed {gate.op} {bound_text(gate.bound)}{why}"
    )


def _share_needed(least: float) -> str:
    """What a policy's least share on the execution provider asks; 0 asks for some of it all the same."""
    return f"needed {bound_share_text(least)}" if least else "needed some: a run that fell back is never GO"


def _unprofiled(row: Row) -> str:
    return f"no profile says how much of the nodes' time is on {row['ep']} at {row_place(row)}"
