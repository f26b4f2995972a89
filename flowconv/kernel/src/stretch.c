/* Lines -> rows. A stretch that has anything odd is first written again in plain order, with one
 * space between values and without what is no record; so there is but one way into the columns. */
#include "stretch.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "values.h"

void stretch_free(stretch *s) {
    free(s->found.offsets);
    free(s->found.line_ends);
    free(s->found.blocks);
    free(s->line_ends);
    free(s->kinds);
    free(s->fields);
    free(s->milliseconds);
    free(s->commented);
    free(s->row_lines);
    free(s->row_before);
    free(s->squeezed);
    *s = (stretch){0};
}

cells cells_of(const stretch *s, const reading *how, size_t index) {
    cells values = {.text = s->row_text, .rows = s->rows};
    values.before = index ? s->ends + index - 1 : s->row_before;
    values.before_step = index ? how->width : 1;
    values.end = s->ends + index;
    values.end_step = how->width;
    return values;
}

/* --- memory ---------------------------------------------------------------------------------- */

static bool reserve_bytes(stretch *s, size_t size) {
    size_t blocks = size / BLOCK_BYTES + 1;
    size += DELIMITERS_AT_ONCE;
    if (size <= s->offsets_room && blocks <= s->blocks_room)
        return true;
    size_t room = s->offsets_room; /* `offsets` and `line_ends` have the same. */
    return grow((void **)&s->found.line_ends, &room, size, sizeof(uint32_t)) &&
           grow((void **)&s->found.offsets, &s->offsets_room, size, sizeof(uint32_t)) &&
           grow((void **)&s->found.blocks, &s->blocks_room, blocks, 1);
}

static bool reserve_lines(stretch *s, size_t lines) {
    return grow((void **)&s->line_ends, &s->line_ends_room, lines, sizeof(uint32_t)) &&
           grow((void **)&s->kinds, &s->kinds_room, lines, 1) &&
           grow((void **)&s->fields, &s->fields_room, lines, sizeof(int16_t)) &&
           grow((void **)&s->milliseconds, &s->milliseconds_room, lines, 1) &&
           grow((void **)&s->commented, &s->commented_room, lines, 1) &&
           grow((void **)&s->row_lines, &s->row_lines_room, lines, sizeof(uint32_t)) &&
           grow((void **)&s->row_before, &s->row_before_room, lines, sizeof(uint32_t));
}

static bool note_lines(stretch *s) {
    s->lines = s->stop = s->found.lines;
    if (!reserve_lines(s, s->lines))
        return false;
    for (size_t i = 0; i < s->lines; i++) {
        s->line_ends[i] = s->found.offsets[s->found.line_ends[i]];
        s->row_lines[i] = (uint32_t)i;
    }
    memset(s->kinds, LINE_ROW, s->lines);
    memset(s->fields, 0xFF, s->lines * sizeof(int16_t));
    memset(s->milliseconds, 0, s->lines);
    memset(s->commented, 0, s->lines);
    return true;
}

/* --- odd lines ------------------------------------------------------------------------------- */

/* What all blocks together have that a line touches. */
static uint8_t blocks_of(const stretch *s, size_t start, size_t end) {
    uint8_t kinds = 0;
    for (size_t block = start / BLOCK_BYTES; block <= end / BLOCK_BYTES; block++)
        kinds |= s->found.blocks[block];
    return kinds;
}

static uint8_t *copy_value(uint8_t *out, const uint8_t *value, size_t length) {
    if (length <= VALUE_BYTES)
        memcpy(out, value, VALUE_BYTES); /* Both sides have room for more than the value. */
    else
        memcpy(out, value, length);
    return out + length;
}

/* Write a line with one space between values and nothing else; return where it ends. A line that is
 * no record gets its kind, and is not written. */
static uint8_t *squeeze_line(stretch *s, size_t line, bool is_text, uint8_t *out) {
    const uint8_t *text = s->text;
    uint32_t start = line_start(s, line), end = s->line_ends[line];
    if (end > start && text[end - 1] == '\r')
        end--;
    if (!is_text && !is_utf8(text + start, end - start)) {
        s->kinds[line] = FC_NOT_UTF8;
        return out;
    }
    if (memchr(text + start, '\r', end - start)) {
        s->kinds[line] = FC_CONTROL_CHARACTER;
        return out;
    }
    uint8_t *first = out;
    size_t index = line ? s->found.line_ends[line - 1] + 1 : 0;
    for (uint32_t from = start; index <= s->found.line_ends[line]; index++) {
        uint32_t delimiter = s->found.offsets[index], stop = delimiter < end ? delimiter : end;
        if (stop > from && text[from] == '#') {
            s->commented[line] = 1;
            break;
        }
        if (stop > from) {
            out = copy_value(out, text + from, stop - from);
            *out++ = ' ';
        }
        from = delimiter + 1;
    }
    if (out == first)
        s->kinds[line] = s->commented[line] ? LINE_COMMENT : LINE_BLANK;
    else
        out[-1] = '\n';
    return out;
}

/* Name the lines that are not UTF-8, where nothing else is odd. */
static void name_not_utf8(stretch *s) {
    for (size_t line = 0; line < s->lines; line++) {
        uint32_t start = line_start(s, line), end = s->line_ends[line];
        if (blocks_of(s, start, end) & BLOCK_NOT_ASCII && !is_utf8(s->text + start, end - start))
            s->kinds[line] = FC_NOT_UTF8;
    }
}

/* Write all lines again in plain order, and find their delimiters. */
static bool squeeze(stretch *s, const reading *how, size_t size, bool is_text) {
    if (!grow((void **)&s->squeezed, &s->squeezed_room, size + 2 * BLOCK_BYTES, 1))
        return false;
    uint8_t *out = s->squeezed;
    size_t kept = 0;
    for (size_t line = 0; line < s->lines; line++) {
        uint32_t start = line_start(s, line), end = s->line_ends[line];
        uint8_t odd = blocks_of(s, start, end) & (is_text ? BLOCK_ODD : 0xFF);
        if (odd) {
            uint8_t *stop = squeeze_line(s, line, is_text, out);
            if (stop == out)
                continue;
            out = stop;
        } else {
            memcpy(out, s->text + start, end + 1 - start);
            out += end + 1 - start;
        }
        s->row_lines[kept++] = (uint32_t)line;
    }
    memset(out, 0, BLOCK_BYTES);
    s->row_text = s->squeezed;
    how->find(s->squeezed, (size_t)(out - s->squeezed), &s->found);
    return true;
}

/* --- lines that are no rows ------------------------------------------------------------------ */

/* No name is longer, without what `squash` leaves out. */
#define MOST_SQUASHED 1024

/* Write a value as flowconv.blocks.formats.squash does: lower case, without - _ and ${}. Returns
 * its length; 0 if it is too long for a name. SHORT_BYTES behind it are 0. */
static uint32_t squash(const uint8_t *value, uint32_t length, uint8_t *squashed) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < length; i++) {
        if (memchr("-_${}", value[i], 5))
            continue;
        if (count == MOST_SQUASHED)
            return 0;
        squashed[count++] = value[i] >= 'A' && value[i] <= 'Z' ? value[i] | 0x20 : value[i];
    }
    memset(squashed + count, 0, SHORT_BYTES);
    return count;
}

/* Whether a line may be a header: all `count` values may be names, and at least half are known
 * ones. `before` is the offset before the first. */
static bool is_like_header(const stretch *s, const reading *how, uint32_t before,
                           const uint32_t *ends, size_t count) {
    size_t known = 0, first = how->timestamped;
    for (size_t i = first; i < count; i++) {
        uint32_t start = (i ? ends[i - 1] : before) + 1; /* 0 after UINT32_MAX */
        const uint8_t *value = s->row_text + start;
        uint32_t length = ends[i] - start;
        if (!is_name(value, length))
            return false;
        uint8_t squashed[MOST_SQUASHED + SHORT_BYTES];
        length = squash(value, length, squashed);
        known += length && dictionary_find(how->names, squashed, length) != NO_NUMBER;
    }
    return count > first && 2 * known >= count - first;
}

bool row_may_be_header(const stretch *s, const reading *how, size_t row) {
    return is_like_header(s, how, s->row_before[row], s->ends + row * how->width, how->width);
}

/* Say what a line is that has another number of values; true if it is a question. */
static bool judge_misfit(stretch *s, const reading *how, size_t line, uint32_t before,
                         const uint32_t *ends, size_t count) {
    const uint8_t *text = s->row_text;
    if (how->timestamped) {
        int64_t time;
        uint32_t start = before + 1; /* 0 after UINT32_MAX, which stands before the first line. */
        if (!parse_event_time(text + start, ends[0] - start, &time)) {
            s->kinds[line] = FC_NOT_A_TIMESTAMP;
            return false;
        }
        if (count == 1) {
            s->kinds[line] = s->commented[line] ? LINE_COMMENT : LINE_BLANK;
            return false;
        }
    }
    size_t fields = how->width - how->timestamped, values = count - how->timestamped;
    s->kinds[line] = count < how->width ? FC_TOO_FEW_VALUES : FC_TOO_MANY_VALUES;
    if (how->has_numbers && values > fields && values >= 2 * fields - 1)
        return true;
    return is_like_header(s, how, before, ends, count);
}

/* Keep the lines that have as many values as there are fields. */
static void choose_rows(stretch *s, const reading *how, bool settled) {
    size_t lines = s->found.lines, width = how->width, first = 0;
    s->ends = s->found.offsets;
    s->rows = 0;
    for (size_t i = 0; i < lines; i++) {
        size_t last = s->found.line_ends[i], count = last + 1 - first;
        uint32_t *ends = s->found.offsets + first;
        uint32_t before = i ? s->found.offsets[s->found.line_ends[i - 1]] : UINT32_MAX;
        size_t line = s->row_lines[i];
        first = last + 1;
        if (s->kinds[line])
            continue;
        bool is_settled = settled && line == 0, is_question = false;
        if (count != width)
            is_question = judge_misfit(s, how, line, before, ends, count);
        else if (!how->has_numbers)
            is_question = is_like_header(s, how, before, ends, width);
        if (is_question && !is_settled) {
            s->stop = line;
            return;
        }
        if (count != width)
            continue;
        s->row_lines[s->rows] = (uint32_t)line;
        s->row_before[s->rows] = before;
        if (ends != s->ends + s->rows * width)
            memmove(s->ends + s->rows * width, ends, width * sizeof(uint32_t));
        s->rows++;
    }
}

bool find_rows(stretch *s, const reading *how, const uint8_t *text, size_t size, bool settled) {
    s->text = s->row_text = text;
    if (!reserve_bytes(s, size))
        return false;
    how->find(text, size, &s->found);
    if (!note_lines(s))
        return false;
    bool is_text = !(s->found.found & BLOCK_NOT_ASCII) || is_utf8(text, size);
    if (s->found.found & BLOCK_ODD) {
        if (!squeeze(s, how, size, is_text))
            return false;
    } else if (!is_text) {
        name_not_utf8(s);
    }
    choose_rows(s, how, settled);
    return true;
}
