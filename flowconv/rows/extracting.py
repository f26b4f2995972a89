"""The loop over objects: objects -> blocks -> parsed blocks.

Conversion, `read`, `inspect` and verification all go through `extract`.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date

from flowconv.blocks.block import Block, BlockEnd, RowBlock, next_block
from flowconv.blocks.declared_formats import DeclaredFormats
from flowconv.blocks.reading import BeginBeside, no_core_is_idle, only_unreadable, read_blocks
from flowconv.blocks.unpacking import Readable
from flowconv.errors import FormatError, UnreadableObjectError
from flowconv.rows.batch import ParsedBlock
from flowconv.rows.fitting import Fitting
from flowconv.rows.parsing import BlockParser
from flowconv.source.keys import LogObject

OnFailure = Callable[[LogObject, UnreadableObjectError], None]


def fail(_: LogObject, error: UnreadableObjectError, /) -> None:
    """End at the first object that cannot be read."""
    raise error


def extract(
    log_objects: Sequence[LogObject],
    open_object: Callable[[LogObject], Readable],
    declared: DeclaredFormats,
    on_failure: OnFailure = fail,
    *,
    max_object_bytes: int | None = None,
    today: date | None = None,
    must_fit: bool = True,
    begin_beside: BeginBeside = no_core_is_idle,
) -> Iterator[tuple[Block, ParsedBlock]]:
    """Read and parse objects in their order.

    Args:
        log_objects: What to read.
        open_object: Gives an object's bytes as they are stored, such as `ObjectFetcher.open`.
        declared: The formats of objects without a header.
        on_failure: Called for each object that cannot be read, before any row of it is given out;
            and, after its last block, for each of which no line fits.
        max_object_bytes: Largest size of an object's text; a larger one is unreadable. None sets
            no limit.
        today: The day of the run, which tells what times are unlikely; None is today, in UTC.
        must_fit: Report objects of which no line fits, too.
        begin_beside: See `read_blocks`.

    Yields:
        A block and what became of it. The block is valid until the next is asked for; what became
        of it stays.

    Raises:
        UnreadableObjectError: An object failed after rows of it had been given out. What was made
            of them must be thrown away.
    """
    parser = BlockParser(declared, today)
    fitting = Fitting()
    blocks = read_blocks(
        log_objects, open_object, declared, on_failure, max_object_bytes, begin_beside
    )
    begun: LogObject | None = None
    end: BlockEnd | None = None
    while (whole := next_block(blocks, end)) is not None:
        block, parsed = _parse(parser, whole, begun, on_failure)
        unfit: dict[LogObject, FormatError] = {}
        if must_fit:
            unfit, log_groups = fitting.add(block, parsed)
            parsed = parsed._replace(unfit_log_groups=log_groups) if log_groups else parsed
        yield block, parsed
        for log_object, error in unfit.items():
            on_failure(log_object, error)
        begun = None if whole.ended else whole.log_objects[0]
        end = parsed.end


def _parse(
    parser: BlockParser, block: Block, begun: LogObject | None, on_failure: OnFailure
) -> tuple[Block, ParsedBlock]:
    """Parse a block, or what is left of it without the objects that cannot be parsed.

    Args:
        parser: The parser.
        block: A block.
        begun: The object that goes on in this block, if one does.
        on_failure: Called for the objects that cannot be parsed.

    Returns:
        The block, or one with the other objects' spans alone, and what it is parsed to.

    Raises:
        UnreadableObjectError: The object that goes on here, or begins without ending, or the only
            one cannot be parsed.
    """
    try:
        with only_unreadable(block.log_objects[0]):
            return block, parser.parse(block)
    except UnreadableObjectError:
        if isinstance(block, RowBlock) or len(block.spans) == 1:
            raise
    spans, parts = [], []
    end = BlockEnd(block.format, block.spans[-1].first_line)
    for span, alone in zip(block.spans, block.apart(), strict=True):
        try:
            with only_unreadable(span.log_object):
                parts.append(parser.parse(alone))
            spans.append(span)
        except UnreadableObjectError as error:
            if span.log_object == begun:
                raise
            failure = error.to_keep()
        else:
            end = parts[-1].end
            continue
        on_failure(span.log_object, failure)
    return block.of_spans(spans), ParsedBlock.joined(parts, end)
