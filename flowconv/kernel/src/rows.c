/* Pieces of text -> the rows of batches. */
#include "flowconv.h"

#include <stdlib.h>
#include <string.h>

#include "columns.h"
#include "export.h"
#include "memory.h"
#include "stretch.h"
#include "values.h"

/* Text and offsets of a stretch stay in the caches: 32 to 256 KB are alike, 512 KB take 4 % longer
 * (benchmarks/bench_kernel.py, large_v5). Their room is touched page by page for the first time:
 * with 512 KB a conversion of large_v5 makes 13,000 more page faults. */
#define STRETCH_BYTES (128 << 10)

/* After a question so much is looked at, then twice as much: a text of nothing but questions must
 * not be read again from each of them on. */
#define FIRST_STRETCH_BYTES 4096

/* Batches of a row group have most of their texts in common. Beyond so many, in all columns, they
 * are forgotten: that bounds the memory, and in a table that leaves the caches each look takes
 * longer than a new text does. */
#define MOST_KEPT_TEXTS (128u << 10)
#define MOST_KEPT_BYTES (4u << 20)

struct fc_builder {
    reading how;
    uint64_t seed;
    size_t field_count;
    column *columns;
    dictionary names;
    size_t stretch_bytes, next_stretch_bytes;

    size_t rows;
    size_t expected_rows; /* as many as the last batch had */
    size_t text_bytes;    /* of all texts */
    int64_t *line_numbers;
    size_t line_numbers_room;
    int64_t *event_times;
    size_t event_times_room;

    stretch current;
    uint8_t *tail; /* the last lines of a text, with bytes behind them */
    size_t tail_room;
    fc_rejected *rejections;
    size_t rejections_room;
};

int32_t fc_api_version(void) {
    return FC_API_VERSION;
}

int32_t fc_speed(int32_t speed) {
    return find_delimiters_of(&speed) ? speed : FC_BEST;
}

/* --- begin and end --------------------------------------------------------------------------- */

static bool is_possible(const fc_plan *plan) {
    if (plan->field_count < 1 || plan->field_count > FC_MOST_FIELDS || plan->name_count < 0)
        return false;
    for (int32_t i = 0; i < plan->field_count; i++) {
        const fc_field *field = &plan->fields[i];
        if (field->type < FC_TEXT || field->type > FC_SECONDS || field->largest < 0)
            return false;
        if (field->type == FC_INT32 && field->largest > INT32_MAX)
            return false;
    }
    return plan->stretch_bytes >= 0 && plan->stretch_bytes <= FC_MOST_TEXT;
}

static bool begin_names(fc_builder *b, const fc_plan *plan) {
    if (!dictionary_begin(&b->names, plan->seed))
        return false;
    for (int32_t i = 0; i < plan->name_count; i++) {
        const uint8_t *name = plan->names + plan->name_offsets[i];
        int32_t length = plan->name_offsets[i + 1] - plan->name_offsets[i];
        uint8_t padded[256 + SHORT_BYTES] = {0};
        if (length < 0 || length > 256)
            continue;
        memcpy(padded, name, (size_t)length);
        if (dictionary_number(&b->names, padded, (uint32_t)length) == NO_NUMBER)
            return false;
    }
    return true;
}

static bool begin_columns(fc_builder *b, const fc_plan *plan) {
    b->columns = calloc((size_t)plan->field_count, sizeof(column));
    if (!b->columns)
        return false;
    for (; b->field_count < (size_t)plan->field_count; b->field_count++) {
        const fc_field *field = &plan->fields[b->field_count];
        if (!column_begin(&b->columns[b->field_count], field, plan->seed))
            return false;
        b->how.has_numbers |= field->type != FC_TEXT;
    }
    return true;
}

fc_builder *fc_builder_new(const fc_plan *plan) {
    if (!is_possible(plan))
        return NULL;
    fc_builder *b = calloc(1, sizeof(fc_builder));
    if (!b)
        return NULL;
    b->seed = plan->seed;
    b->how.speed = plan->speed;
    b->how.find = find_delimiters_of(&b->how.speed);
    b->how.timestamped = plan->timestamped != 0;
    b->how.width = (size_t)plan->field_count + b->how.timestamped;
    b->how.names = &b->names;
    b->stretch_bytes = plan->stretch_bytes ? (size_t)plan->stretch_bytes : STRETCH_BYTES;
    b->next_stretch_bytes = b->stretch_bytes;
    if (!b->how.find || !begin_names(b, plan) || !begin_columns(b, plan)) {
        fc_builder_free(b);
        return NULL;
    }
    return b;
}

void fc_builder_free(fc_builder *b) {
    if (!b)
        return;
    for (size_t i = 0; i < b->field_count; i++)
        column_free(&b->columns[i]);
    free(b->columns);
    dictionary_free(&b->names);
    stretch_free(&b->current);
    free(b->line_numbers);
    free(b->event_times);
    free(b->tail);
    free(b->rejections);
    free(b);
}

/* --- a stretch ------------------------------------------------------------------------------- */

static bool reserve_rows(fc_builder *b, size_t rows) {
    if (rows < b->expected_rows)
        rows = b->expected_rows;
    for (size_t i = 0; i < b->field_count; i++)
        if (!column_reserve(&b->columns[i], rows))
            return false;
    if (b->how.timestamped &&
        !grow((void **)&b->event_times, &b->event_times_room, rows, sizeof(int64_t)))
        return false;
    return grow((void **)&b->line_numbers, &b->line_numbers_room, rows, sizeof(int64_t));
}

/* Write the times of events; true if all rows begin with one. */
static bool write_event_times(fc_builder *b) {
    stretch *s = &b->current;
    bool fits = true;
    const uint32_t *ends = s->ends;
    for (size_t r = 0; r < s->rows; r++, ends += b->how.width) {
        uint32_t start = s->row_before[r] + 1;
        int64_t *time = &b->event_times[b->rows + r];
        if (!parse_event_time(s->row_text + start, *ends - start, time)) {
            s->kinds[s->row_lines[r]] = FC_NOT_A_TIMESTAMP;
            fits = false;
        }
    }
    return fits;
}

/* End the stretch before the first row that does not fit and may be a header. */
static void stop_at_header(fc_builder *b, bool settled) {
    stretch *s = &b->current;
    for (size_t r = 0; r < s->rows; r++) {
        uint32_t line = s->row_lines[r];
        bool is_open = s->kinds[line] && s->kinds[line] != FC_NOT_A_TIMESTAMP;
        if (is_open && !(settled && line == 0) && row_may_be_header(s, &b->how, r)) {
            for (size_t i = 0; i < b->field_count; i++)
                column_truncate(&b->columns[i], b->rows + r, b->rows + s->rows);
            s->stop = line;
            s->rows = r;
            return;
        }
    }
}

/* Leave out the rows that do not fit. */
static void drop_rows(fc_builder *b) {
    stretch *s = &b->current;
    findings found = findings_of(s);
    for (size_t i = 0; i < b->field_count; i++)
        if (b->columns[i].type != FC_TEXT)
            keep_fitting(&b->columns[i], b->rows, s->rows, &found);
    size_t kept = 0, width = b->how.width;
    run rows = {0};
    while ((rows = next_fitting(&found, rows.begin + rows.rows, s->rows)).rows) {
        size_t from = rows.begin, count = rows.rows;
        memmove(s->ends + kept * width, s->ends + from * width, count * width * sizeof(uint32_t));
        memmove(s->row_before + kept, s->row_before + from, count * sizeof(uint32_t));
        if (b->how.timestamped)
            memmove(b->event_times + b->rows + kept, b->event_times + b->rows + from,
                    count * sizeof(int64_t));
        kept += count;
    }
    /* Last: they say which lines the rows are, and so which rows fit. */
    kept = 0;
    for (size_t r = 0; r < s->rows; r++)
        if (!s->kinds[s->row_lines[r]])
            s->row_lines[kept++] = s->row_lines[r];
    s->rows = kept;
}

/* Add the rows of the current stretch: numbers first, since they tell which rows fit. */
static bool add_rows(fc_builder *b, int64_t first_line, bool settled) {
    stretch *s = &b->current;
    if (s->rows == 0)
        return true;
    if (!reserve_rows(b, b->rows + s->rows))
        return false;
    findings found = findings_of(s);
    bool fits = !b->how.timestamped || write_event_times(b);
    for (size_t i = 0; i < b->field_count; i++) {
        cells values = cells_of(s, &b->how, i + b->how.timestamped);
        if (b->columns[i].type != FC_TEXT)
            fits &=
                write_numbers(&b->columns[i], b->rows, &values, (int16_t)i, &found, b->how.speed);
    }
    if (!fits) {
        stop_at_header(b, settled);
        drop_rows(b);
    }
    for (size_t i = 0; i < b->field_count; i++) {
        cells values = cells_of(s, &b->how, i + b->how.timestamped);
        if (b->columns[i].type == FC_TEXT &&
            !write_texts(&b->columns[i], b->rows, &values, b->how.speed))
            return false;
    }
    for (size_t r = 0; r < s->rows; r++)
        b->line_numbers[b->rows + r] = first_line + s->row_lines[r];
    b->rows += s->rows;
    return true;
}

/* Count the stretch's lines and name those that do not fit; false if there is no memory. */
static bool count_lines(fc_builder *b, int64_t first_line, int64_t offset, fc_appended *appended) {
    const stretch *s = &b->current;
    appended->lines += (int64_t)s->stop;
    appended->rows += (int64_t)s->rows;
    for (size_t line = 0; line < s->stop; line++) {
        uint8_t kind = s->kinds[line];
        appended->milliseconds += s->milliseconds[line] && kind == LINE_ROW;
        appended->blank += kind == LINE_BLANK;
        appended->comment += kind == LINE_COMMENT;
        if (kind == LINE_ROW || kind >= LINE_BLANK)
            continue;
        size_t count = (size_t)appended->rejected;
        if (!grow((void **)&b->rejections, &b->rejections_room, count + 1, sizeof(fc_rejected)))
            return false;
        uint32_t start = line_start(s, line), end = s->line_ends[line];
        if (end > start && s->text[end - 1] == '\r')
            end--;
        b->rejections[count] = (fc_rejected){
            .line = first_line + (int64_t)line,
            .offset = (int32_t)(offset + start),
            .length = (int32_t)(end - start),
            .reason = kind,
            .field = s->fields[line],
        };
        appended->rejected++;
    }
    return true;
}

/* --- a text ---------------------------------------------------------------------------------- */

/* The length of the next stretch: whole lines, or all that is left. */
static size_t stretch_size(const uint8_t *text, size_t size, size_t wanted) {
    if (size <= wanted)
        return size;
    for (size_t end = wanted; end > 0; end--)
        if (text[end - 1] == '\n')
            return end;
    const uint8_t *newline = memchr(text + wanted, '\n', size - wanted);
    return newline ? (size_t)(newline - text) + 1 : size;
}

/* As much of a stretch as has whole lines and bytes behind it; 0 if that is nothing. */
static size_t readable_size(const uint8_t *text, size_t size, size_t left) {
    if (left - size >= BLOCK_BYTES)
        return size;
    size_t end = left < BLOCK_BYTES ? 0 : left - BLOCK_BYTES;
    while (end > 0 && text[end - 1] != '\n')
        end--;
    return end;
}

/* Copy the last lines of a text: they get a newline if they lack it, and bytes behind. */
static const uint8_t *copy_tail(fc_builder *b, const uint8_t *text, size_t *size) {
    if (!grow((void **)&b->tail, &b->tail_room, *size + 1 + BLOCK_BYTES, 1))
        return NULL;
    memcpy(b->tail, text, *size);
    if (text[*size - 1] != '\n')
        b->tail[(*size)++] = '\n';
    memset(b->tail + *size, 0, BLOCK_BYTES);
    return b->tail;
}

/* fc_append, where `readable` bytes of the text and what follows it can be read. */
static int32_t append(fc_builder *b, const uint8_t *text, int64_t text_size, size_t readable,
                      int64_t first_line, bool settled, fc_appended *appended) {
    *appended = (fc_appended){0};
    if (text_size < 0 || (uint64_t)text_size > FC_MOST_TEXT - b->text_bytes)
        return FC_FULL;
    size_t size = (size_t)text_size, at = 0;
    if (size > 0 && text[size - 1] != '\n')
        readable = size; /* the last line is copied, to end it */
    while (at < size) {
        size_t whole = stretch_size(text + at, size - at, b->next_stretch_bytes);
        size_t length = readable_size(text + at, whole, readable - at), taken = length;
        const uint8_t *lines = text + at;
        if (length == 0) {
            length = taken = whole;
            lines = copy_tail(b, lines, &length);
        }
        bool is_settled = settled && at == 0;
        int64_t line = first_line + appended->lines;
        if (!lines || !find_rows(&b->current, &b->how, lines, length, is_settled) ||
            !add_rows(b, line, is_settled) || !count_lines(b, line, (int64_t)at, appended))
            return FC_NO_MEMORY;
        appended->rejections = b->rejections;
        const stretch *s = &b->current;
        at += s->stop < s->lines ? line_start(s, s->stop) : taken;
        appended->consumed = (int64_t)at;
        if (s->stop < s->lines) {
            b->text_bytes += at;
            if (b->next_stretch_bytes > FIRST_STRETCH_BYTES)
                b->next_stretch_bytes = FIRST_STRETCH_BYTES;
            return FC_QUESTION;
        }
        if (b->next_stretch_bytes < b->stretch_bytes)
            b->next_stretch_bytes *= 2;
    }
    b->text_bytes += size;
    return FC_OK;
}

int32_t fc_append(fc_builder *b, const uint8_t *text, int64_t size, int64_t first_line,
                  int32_t settled, fc_appended *appended) {
    return append(b, text, size, (size_t)size, first_line, settled != 0, appended);
}

int64_t fc_append_parts(fc_builder *b, const uint8_t *text, int64_t size, const fc_part *parts,
                        int64_t count, fc_appended *appended, int32_t *status) {
    *status = FC_OK;
    int64_t read = 0;
    while (read < count) {
        const fc_part *part = &parts[read];
        fc_appended *found = &appended[read++];
        *status = append(b, text + part->start, part->size, (size_t)(size - part->start),
                         part->first_line, false, found);
        if (*status != FC_OK || found->rejected)
            break;
    }
    return read;
}

void fc_truncate(fc_builder *b, int64_t rows) {
    if (rows < 0 || (size_t)rows >= b->rows)
        return;
    for (size_t i = 0; i < b->field_count; i++)
        column_truncate(&b->columns[i], (size_t)rows, b->rows);
    b->rows = (size_t)rows;
}

int64_t fc_rows(const fc_builder *b) {
    return (int64_t)b->rows;
}

/* --- a batch --------------------------------------------------------------------------------- */

/* Whether the next batch is to know the texts of this one, and what these take. */
static bool keeps_texts(const fc_builder *b, size_t *bytes) {
    size_t texts = 0;
    *bytes = 0;
    for (size_t i = 0; i < b->field_count; i++) {
        texts += b->columns[i].texts.count;
        *bytes += dictionary_bytes(&b->columns[i].texts);
    }
    return texts <= MOST_KEPT_TEXTS && *bytes <= MOST_KEPT_BYTES;
}

/* Move numbers of rows into a column. */
static void take_numbers(int64_t **numbers, size_t *room, column *taken) {
    *taken = (column){.type = FC_INT64, .values = *numbers};
    *numbers = NULL;
    *room = 0;
}

int32_t fc_take(fc_builder *b, struct ArrowArray *rows) {
    batch *taken = batch_new(b->field_count + 1 + b->how.timestamped);
    if (!taken)
        return FC_NO_MEMORY;
    size_t bytes;
    bool keeps = keeps_texts(b, &bytes);
    for (size_t i = 0; i < b->field_count; i++) {
        if (!column_take(&b->columns[i], batch_column(taken, i), keeps, b->seed)) {
            batch_free(taken);
            return FC_NO_MEMORY;
        }
    }
    take_numbers(&b->line_numbers, &b->line_numbers_room, batch_column(taken, b->field_count));
    if (b->how.timestamped)
        take_numbers(&b->event_times, &b->event_times_room,
                     batch_column(taken, b->field_count + 1));
    batch_export(taken, b->rows, rows);
    b->expected_rows = b->rows + b->rows / 8; /* a few more must not copy all */
    b->rows = 0;
    b->text_bytes = keeps ? bytes : 0;
    return FC_OK;
}
