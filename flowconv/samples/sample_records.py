"""The records of sample logs: conversations -> columns -> lines of text."""

import math
import random
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from statistics import NormalDist
from typing import Final

import polars as pl
import pyarrow as pa

from flowconv.samples.flow_logs import FlowLog
from flowconv.samples.networks import DRAWN, Network
from flowconv.samples.options import BUCKET_S, GenerateOptions

# Zipf-Mandelbrot shift: the busiest conversation has about 0.2% of records.
_BUSY_HEAD: Final = 100.0

# Columns that differ from record to record; a conversation settles all others.
_VARYING: Final = frozenset(("srcport", "dstport", "packets", "bytes", "start", "end", "tcp_flags"))
_PHASES: Final = 16
_TCP_FLAGS: Final = pl.Series(
    [0] * _PHASES
    + [2] * _PHASES
    + ([3] * 7 + [0] * 5 + [2, 1, 7, 4])
    + ([19] * 7 + [0] * 5 + [18, 1, 19, 1]),
    dtype=pl.UInt32,
)

# Quantiles of the normal distribution: a draw of 12 bits picks one.
_NORMAL: Final = pl.Series([NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)])


def make_records(
    rng: random.Random,
    options: GenerateOptions,
    network: Network,
    log: FlowLog,
    times: Sequence[datetime],
) -> pl.DataFrame:
    """Make the records of some objects of a flow log.

    Returns:
        One row for each record, object by object: `side` (row of the network's sides), and the
        columns of `_VARYING`: null where a record says nothing.
    """
    choices = _choose_sides(rng, options, network, len(times))
    return _draw_values(rng, network, log, times, choices)


def _choose_sides(
    rng: random.Random, options: GenerateOptions, network: Network, objects: int
) -> pl.DataFrame:
    """Choose what each record belongs to: as a rule, two neighbours are a conversation's sides.

    Returns:
        One row for each record, object by object: `object`, `side` (row of the network's sides),
        and draws that both neighbours share (`volume`, `phase`, `port`, `run`).
    """
    pairs = (options.records + 1) // 2
    # Interfaces come in short runs, again and again, as AWS gathers records from many hosts.
    runs = max(5, options.records // 400)
    draws = pl.DataFrame(_draw(rng, name, objects * pairs) for name in ("which", "how", "port"))
    flows = draws.select(
        (pl.int_range(pl.len(), dtype=pl.UInt32) // pairs).alias("object"),
        pl.when(_bits("how", 0, 16) < round(options.ipv6_share * 0x10000))
        .then(_rank("which", network.ipv6) + network.ipv4)
        .otherwise(_rank("which", network.ipv4))
        .cast(pl.UInt32)
        .alias("conversation"),
        _bits("how", 16, 4).alias("phase"),
        _bits("how", 20, 12).alias("volume"),
        _bits("port", 0, 16).alias("port"),
        (_bits("port", 16, 16) % runs).alias("run"),
    )
    # Sort by object, run and interface; the position makes each key unique, so that the order
    # does not depend on the sort's.
    interface = network.sides["interface"].gather(flows["conversation"] * 2)
    group = pl.col("object").cast(pl.UInt64) * runs + pl.col("run")
    keys = flows.select(
        (group * network.interfaces + interface) * 2**32 + pl.int_range(pl.len(), dtype=pl.UInt64)
    ).to_series()
    order = (keys.sort() & 0xFFFF_FFFF).cast(pl.UInt32)

    number = pl.int_range(objects * options.records, dtype=pl.UInt32, eager=True)
    place = number % options.records
    records = flows[order.gather(number // options.records * pairs + place // 2)]
    talking = pl.col("conversation") * 2 + place % 2
    silent = 2 * (network.ipv4 + network.ipv6) + pl.col("any") % network.interfaces
    nodata = round(options.nodata_share * 2**32)
    skipdata = nodata + round(options.skipdata_share * 2**32)
    return records.with_columns(
        _draw(rng, "silence", len(records)), _draw(rng, "any", len(records))
    ).select(
        "object",
        "volume",
        "phase",
        "port",
        "run",
        pl.when(pl.col("silence") < nodata)
        .then(silent)
        .when(pl.col("silence") < skipdata)
        .then(silent + network.interfaces)
        .otherwise(talking)
        .alias("side"),
    )


def _draw_values(
    rng: random.Random,
    network: Network,
    log: FlowLog,
    times: Sequence[datetime],
    choices: pl.DataFrame,
) -> pl.DataFrame:
    """Draw what differs from record to record.

    Returns:
        `side` of choices, and the columns of `_VARYING`: null where a record says nothing.
    """
    chance = _draw(rng, "chance", len(choices))
    lags = [rng.randrange(BUCKET_S) for _ in range(network.interfaces)]
    lag = pl.lit(pl.Series(lags, dtype=pl.Int64)).gather("interface")
    ends = [int(end.timestamp()) for end in times]
    bucket = pl.lit(pl.Series(ends, dtype=pl.Int64)).gather("object")
    step = pl.col("run").cast(pl.Int64) % (BUCKET_S // min(BUCKET_S, log.window_s))
    # A window begins and ends when its interface's turn comes, and is not quite full.
    end = bucket - lag % log.window_s - step * log.window_s
    length = log.window_s - 2 - (lag + step * 3 + pl.col("object")) % 6
    # Every seventh record or so begins later: its first packet came then.
    late = pl.when(_bits("chance", 22, 10) < 150).then(length * _bits("chance", 16, 6) // 80)

    volume = pl.lit(_NORMAL).gather("volume") * 0.95  # shared by both directions, and its own
    own_volume = pl.lit(_NORMAL).gather(_bits("chance", 0, 12)) * 0.3
    packets = (pl.col("log_packets") + pl.col("spread") * (volume + own_volume)).exp().round()
    wobble = pl.col("wobble_bytes") * _bits("chance", 12, 10) // 1024
    text_bytes = pl.col("packets") * pl.col("packet_bytes") + pl.col("packets").sqrt() * wobble

    # Null where the interface had no traffic, or its data was skipped.
    traffic = {
        "srcport": pl.col("src_port") + pl.col("port") % pl.col("src_ports"),
        "dstport": pl.col("dst_port") + pl.col("port") % pl.col("dst_ports"),
        "packets": pl.col("packets"),
        "bytes": text_bytes.cast(pl.Int64),
        "tcp_flags": pl.lit(_TCP_FLAGS).gather(pl.col("flags") * _PHASES + pl.col("phase")),
    }
    talks = pl.col("log_status") == "OK"
    return (
        choices.hstack([*network.sides.select(DRAWN)[choices["side"]], chance])
        .with_columns(packets.clip(1, 40_000_000).cast(pl.Int64).alias("packets"))
        .select(
            "side",
            (end - length + pl.when(talks).then(late).fill_null(0)).alias("start"),
            end.alias("end"),
            *(pl.when(talks).then(value).alias(name) for name, value in traffic.items()),
        )
    )


def _draw(rng: random.Random, name: str, count: int) -> pl.Series:
    """Draw integers of 32 bits; Python's generator gives the same ones everywhere."""
    buffer = pa.py_buffer(rng.randbytes(4 * count))
    return pl.Series(name, pa.Array.from_buffers(pa.uint32(), count, [None, buffer]))


def _bits(draw: str, first: int, count: int) -> pl.Expr:
    return (pl.col(draw) // (1 << first)) & ((1 << count) - 1)


def _rank(draw: str, count: int) -> pl.Expr:
    """Turn a draw into a rank below count, by the law of Zipf and Mandelbrot: 0 is likeliest."""
    share = pl.col(draw).cast(pl.Float64) / 2**32
    rank = ((share * math.log1p(count / _BUSY_HEAD)).exp() - 1) * _BUSY_HEAD
    return rank.floor().clip(0, count - 1)


def join_fields(
    log: FlowLog, sides: pl.DataFrame, records: pl.DataFrame, spaces: str, line_end: str
) -> pl.Series:
    """Join the fields of each record to a line.

    Neighbouring fields that the side settles are joined once for each side, not for each record.
    """
    sides = sides.with_columns(version=pl.lit(str(log.version)))
    parts = []
    for varying, run in groupby((f.column for f in log.fields), _VARYING.__contains__):
        if varying:
            parts += [pl.col(column).cast(pl.String).fill_null("-") for column in run]
        else:
            text = sides.select(pl.concat_str(list(run), separator=spaces)).to_series()
            parts.append(pl.lit(text).gather("side"))
    spaced = [part for value in parts for part in (value, pl.lit(spaces))]
    return records.select(pl.concat_str(*spaced[:-1], pl.lit(line_end))).to_series()
