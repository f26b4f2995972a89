/* Documents of JSON -> the lines in their messages: see flowconv.h.
 *
 * Whatever is unusual is a fault here, and Python's to decide: only what surely means the same
 * there is read. */
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "flowconv.h"
#include "memory.h"
#include "values.h"

/* Objects and arrays within each other, as in blocks/json_documents.py. */
#define MOST_LEVELS 64

/* What their values lie within: an event's are in it, its array and the document. */
#define LEVELS_OF_DOCUMENT 1
#define LEVELS_OF_EVENT 3

/* Digits of numbers that surely fit. */
#define MOST_DIGITS 18

enum key { OTHER, MESSAGE_TYPE, LOG_GROUP, OWNER, MESSAGE, LOG_EVENTS, EVENTS, RECORDS, TIMESTAMP };

/* A place in the text; at a fault it stays where it is. */
typedef struct {
    const uint8_t *at, *end;
    uint64_t bits; /* of all words of the document's strings, and perhaps of others */
    bool fault;
} cursor;

/* What has been read; `run` is not yet among the runs if it has a kind. */
typedef struct {
    size_t text, lines, names, runs;
    fc_run run;
} extent;

#define NO_KIND (-1)

struct fc_json {
    uint8_t *text;  /* as long as what is read */
    uint8_t *names; /* the same */
    int64_t *times;
    fc_run *runs;
    size_t text_room, names_room, times_room, runs_room;
    extent has;
    cursor c;
    bool are_events, no_memory;
};

/* A document that is being read. */
typedef struct {
    fc_run run;    /* its own; the ends are set at its end */
    uint32_t seen; /* a bit for each key */
    int64_t time;
    bool is_control;
} document;

/* --- values ---------------------------------------------------------------------------------- */

static bool fail(cursor *c) {
    c->fault = true;
    return false;
}

static bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static void skip_blanks(cursor *c) {
    while (c->at < c->end && is_blank(*c->at))
        c->at++;
}

/* Go behind a byte if it comes next. */
static bool take(cursor *c, uint8_t byte) {
    skip_blanks(c);
    if (c->fault || c->at == c->end || *c->at != byte)
        return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word) {
    size_t size = strlen(word);
    skip_blanks(c);
    if ((size_t)(c->end - c->at) < size || memcmp(c->at, word, size) != 0)
        return false;
    c->at += size;
    return true;
}

#define ONES UINT64_C(0x0101010101010101)

/* The highest bit of some byte is set if one is below `limit`, which is at most 128.
 * https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord */
static uint64_t has_less(uint64_t word, uint64_t limit) {
    return (word - ONES * limit) & ~word & ONES << 7;
}

#if defined(__x86_64__)

/* SSE2, which all of these processors have: look at sixteen bytes at a time. The bits are also
 * those of some bytes behind. */
static const uint8_t *skip_sixteens(const uint8_t *at, const uint8_t *end, uint64_t *bits) {
    const __m128i control = _mm_set1_epi8(' ' - 1), quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    __m128i all = _mm_setzero_si128();
    for (; end - at >= 16; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)at);
        __m128i special = _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes);
        special = _mm_or_si128(special, _mm_cmpeq_epi8(bytes, quote));
        special = _mm_or_si128(special, _mm_cmpeq_epi8(bytes, backslash));
        unsigned where = (unsigned)_mm_movemask_epi8(special);
        all = _mm_or_si128(all, bytes);
        if (where) {
            at += __builtin_ctz(where);
            break;
        }
    }
    all = _mm_or_si128(all, _mm_unpackhi_epi64(all, all));
    *bits |= (uint64_t)_mm_cvtsi128_si64(all);
    return at;
}

#else

static const uint8_t *skip_sixteens(const uint8_t *at, const uint8_t *end, uint64_t *bits) {
    (void)end, (void)bits;
    return at;
}

#endif

/* Go behind the bytes that stand for themselves within a string. */
static void skip_plain(cursor *c) {
    const uint8_t *end = c->end;
    uint64_t bits = c->bits;
    const uint8_t *at = skip_sixteens(c->at, end, &bits);
    for (; end - at >= 8; at += 8) {
        uint64_t word = load_word(at);
        if (has_less(word, ' ') | has_less(word ^ ONES * '"', 1) | has_less(word ^ ONES * '\\', 1))
            break;
        bits |= word;
    }
    for (; at < end && *at >= ' ' && *at != '"' && *at != '\\'; at++)
        bits |= *at;
    c->bits = bits;
    c->at = at;
}

/* Read the four digits of \uXXXX; -1 if they are none. */
static int32_t read_unit(cursor *c) {
    int32_t unit = 0;
    if (c->end - c->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t byte = *c->at++, letter = byte | 0x20;
        bool is_digit = byte >= '0' && byte <= '9';
        if (!is_digit && (letter < 'a' || letter > 'f'))
            return -1;
        unit = unit << 4 | (is_digit ? byte - '0' : letter - 'a' + 10);
    }
    return unit;
}

/* Read a character behind \u; -1 if it is none: half of a pair of surrogates alone, for example. */
static int32_t read_character(cursor *c) {
    int32_t unit = read_unit(c);
    if (unit < 0xD800 || unit > 0xDFFF)
        return unit;
    if (unit > 0xDBFF || c->end - c->at < 2 || c->at[0] != '\\' || c->at[1] != 'u')
        return -1;
    c->at += 2;
    int32_t low = read_unit(c);
    if (low < 0xDC00 || low > 0xDFFF)
        return -1;
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
}

/* Write a character as UTF-8. Returns its size, which is less than that of its escape. */
static size_t write_character(int32_t character, uint8_t *out) {
    size_t behind = character < 0x80 ? 0 : character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    static const uint8_t first[] = {0, 0xC0, 0xE0, 0xF0};
    for (size_t i = behind; i > 0; i--, character >>= 6)
        out[i] = (uint8_t)(0x80 | (character & 0x3F));
    out[0] = (uint8_t)(first[behind] | character);
    return behind + 1;
}

/* Read what a backslash at the cursor begins. Returns the size of what it means. */
static size_t read_escape(cursor *c, uint8_t out[4]) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (c->end - c->at < 2)
        return fail(c);
    uint8_t letter = c->at[1];
    c->at += 2;
    if (letter == 'u') {
        int32_t character = read_character(c);
        return character < 0 ? fail(c) : write_character(character, out);
    }
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (!found)
        return fail(c);
    out[0] = (uint8_t)meanings[found - letters];
    return 1;
}

/* Read a string from behind its first quote. Returns its size; what it says goes to `out`, if that
 * is not NULL. */
static size_t read_string(cursor *c, uint8_t *out) {
    size_t size = 0;
    for (;;) {
        const uint8_t *start = c->at;
        skip_plain(c);
        size_t plain = (size_t)(c->at - start);
        if (out)
            memcpy(out + size, start, plain);
        size += plain;
        if (c->at == c->end || *c->at < ' ')
            return fail(c);
        if (*c->at == '"')
            break;
        uint8_t character[4];
        size_t escaped = read_escape(c, character);
        if (c->fault)
            return 0;
        if (out)
            memcpy(out + size, character, escaped);
        size += escaped;
    }
    c->at++;
    return size;
}

static size_t read_digits(cursor *c, int64_t *number) {
    const uint8_t *start = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (c->at - start == MOST_DIGITS)
            return fail(c);
        *number = *number * 10 + (*c->at - '0');
    }
    return (size_t)(c->at - start);
}

/* Read a whole number. */
static int64_t read_integer(cursor *c) {
    int64_t number = 0;
    bool is_negative = take(c, '-');
    bool begins_with_0 = c->at < c->end && *c->at == '0';
    size_t digits = read_digits(c, &number);
    if (digits == 0 || (begins_with_0 && digits > 1))
        return fail(c);
    return is_negative ? -number : number;
}

/* Go behind a number without an exponent. */
static void skip_number(cursor *c) {
    int64_t fraction = 0;
    read_integer(c);
    if (!c->fault && c->at < c->end && *c->at == '.') {
        c->at++;
        if (read_digits(c, &fraction) == 0)
            fail(c);
    }
}

static enum key known_key(const uint8_t *name, size_t size) {
    static const char *const names[] = {
        [MESSAGE_TYPE] = "messageType", [LOG_GROUP] = "logGroup",   [OWNER] = "owner",
        [MESSAGE] = "message",          [LOG_EVENTS] = "logEvents", [EVENTS] = "events",
        [RECORDS] = "records",          [TIMESTAMP] = "timestamp",
    };
    static const uint8_t sizes[] = {0, 11, 8, 5, 7, 9, 6, 7, 9};
    for (enum key key = MESSAGE_TYPE; key <= TIMESTAMP; key++)
        if (size == sizes[key] && memcmp(name, names[key], size) == 0)
            return key;
    return OTHER;
}

/* Go behind an object's next key and its colon; false behind the object's end, or at a fault. */
static bool next_key(cursor *c, bool is_first, enum key *key) {
    if (take(c, '}'))
        return false;
    if ((!is_first && !take(c, ',')) || !take(c, '"'))
        return fail(c);
    const uint8_t *start = c->at;
    skip_plain(c);
    if (c->at == c->end || *c->at != '"')
        return fail(c);
    *key = known_key(start, (size_t)(c->at - start));
    c->at++;
    return take(c, ':') || fail(c);
}

/* Go to an array's next value; false behind the array's end, or at a fault. */
static bool next_value(cursor *c, bool is_first) {
    if (take(c, ']'))
        return false;
    return is_first ? !c->fault : take(c, ',') || fail(c);
}

/* Go behind a value that lies within so many objects and arrays. */
static void skip_value(cursor *c, int levels) {
    enum key key;
    if (take(c, '"'))
        read_string(c, NULL);
    else if (levels < MOST_LEVELS && take(c, '{'))
        for (bool is_first = true; next_key(c, is_first, &key); is_first = false)
            skip_value(c, levels + 1);
    else if (levels < MOST_LEVELS && take(c, '['))
        for (bool is_first = true; next_value(c, is_first); is_first = false)
            skip_value(c, levels + 1);
    else if (!take_word(c, "null") && !take_word(c, "true") && !take_word(c, "false"))
        skip_number(c);
}

/* --- messages -------------------------------------------------------------------------------- */

/* Tell whether names of fields may begin so: a header. */
static bool may_begin_header(uint8_t byte) {
    uint8_t letter = byte | 0x20;
    return byte == ' ' || byte == '\t' || byte == '$' || (letter >= 'a' && letter <= 'z');
}

/* Add the lines of a message that was written behind the text; it ends with a newline. */
static void add_lines(fc_json *j, document *d, size_t size) {
    const uint8_t *line = j->text + j->has.text, *end = line + size;
    while (line < end) {
        if (!grow((void **)&j->times, &j->times_room, j->has.lines + 1, sizeof *j->times)) {
            j->no_memory = true;
            return;
        }
        j->times[j->has.lines++] = -1;
        d->run.may_hold_header |= may_begin_header(*line);
        line = (const uint8_t *)memchr(line, '\n', (size_t)(end - line)) + 1;
    }
    j->has.text += size;
}

/* Read a message. What it says, and a newline, is not longer than it is with its quotes. */
static void read_message(fc_json *j, document *d) {
    cursor *c = &j->c;
    if (!take(c, '"')) {
        fail(c);
        return;
    }
    uint8_t *out = j->text + j->has.text;
    size_t size = read_string(c, out);
    if (c->fault)
        return;
    while (size > 0 && (out[size - 1] == '\n' || out[size - 1] == '\r'))
        size--;
    out[size] = '\n';
    add_lines(j, d, size + 1);
}

/* Read milliseconds since 1970; -1 is not known. */
static int64_t read_time(cursor *c) {
    if (take_word(c, "null"))
        return -1;
    int64_t time = read_integer(c);
    return time < 0 ? -1 : time;
}

static void set_times(fc_json *j, size_t first_line, int64_t time) {
    for (size_t line = first_line; line < j->has.lines; line++)
        j->times[line] = time;
}

/* Note that a key has come; the same one twice is a fault. */
static void see(cursor *c, uint32_t *seen, enum key key) {
    if (key != OTHER && *seen >> key & 1)
        fail(c);
    *seen |= 1u << key;
}

static void read_event(fc_json *j, document *d) {
    cursor *c = &j->c;
    size_t first_line = j->has.lines;
    uint32_t seen = 0;
    int64_t time = -1;
    enum key key;
    if (!take(c, '{'))
        fail(c);
    for (bool is_first = true; !c->fault && next_key(c, is_first, &key); is_first = false) {
        see(c, &seen, key);
        if (key == MESSAGE)
            read_message(j, d);
        else if (key == TIMESTAMP)
            time = read_time(c);
        else
            skip_value(c, LEVELS_OF_EVENT);
    }
    if (seen >> MESSAGE & 1)
        set_times(j, first_line, time);
    else
        fail(c);
}

/* --- documents ------------------------------------------------------------------------------- */

/* Say where the messages of a document are from; it has them in one place alone. */
static void set_kind(fc_json *j, document *d, int32_t kind) {
    if (d->run.kind != NO_KIND)
        fail(&j->c);
    d->run.kind = kind;
}

static void read_events(fc_json *j, document *d, int32_t kind) {
    cursor *c = &j->c;
    if (take_word(c, "null"))
        return;
    set_kind(j, d, kind);
    if (!take(c, '['))
        fail(c);
    for (bool is_first = true; !c->fault && next_value(c, is_first); is_first = false)
        read_event(j, d);
}

static void read_single(fc_json *j, document *d) {
    if (take_word(&j->c, "null"))
        return;
    set_kind(j, d, FC_SINGLE);
    read_message(j, d);
}

static void read_type(cursor *c, document *d) {
    if (take_word(c, "null"))
        return;
    if (take_word(c, "\"CONTROL_MESSAGE\""))
        d->is_control = true;
    else if (!take_word(c, "\"DATA_MESSAGE\""))
        fail(c);
}

static void read_name(fc_json *j, fc_name *name) {
    cursor *c = &j->c;
    if (take_word(c, "null"))
        return;
    if (!take(c, '"')) {
        fail(c);
        return;
    }
    size_t size = read_string(c, j->names + j->has.names);
    *name = (fc_name){.start = (int64_t)j->has.names, .size = (int64_t)size};
    j->has.names += size;
}

static void read_member(fc_json *j, document *d, enum key key) {
    cursor *c = &j->c;
    see(c, &d->seen, key);
    if (key == MESSAGE_TYPE)
        read_type(c, d);
    else if (key == LOG_GROUP)
        read_name(j, &d->run.log_group);
    else if (key == OWNER)
        read_name(j, &d->run.owner);
    else if (key == MESSAGE)
        read_single(j, d);
    else if (key == LOG_EVENTS)
        read_events(j, d, FC_LOG_EVENTS);
    else if (key == EVENTS)
        read_events(j, d, FC_EVENTS);
    else if (key == TIMESTAMP && j->are_events)
        d->time = read_time(c);
    else if (key != RECORDS)
        skip_value(c, LEVELS_OF_DOCUMENT);
    else if (!take_word(c, "null"))
        fail(c);
}

static bool is_same_name(const fc_json *j, fc_name a, fc_name b) {
    return a.size == b.size &&
           (a.size <= 0 || memcmp(j->names + a.start, j->names + b.start, (size_t)a.size) == 0);
}

/* Put the last run among the others. */
static void end_run(fc_json *j) {
    if (j->has.run.kind == NO_KIND)
        return;
    if (grow((void **)&j->runs, &j->runs_room, j->has.runs + 1, sizeof *j->runs))
        j->runs[j->has.runs++] = j->has.run;
    else
        j->no_memory = true;
}

/* Add a document to the last run if it is of the same kind and names; `before` it was this. */
static void add_document(fc_json *j, const document *d, const extent *before) {
    fc_run *run = &j->has.run;
    if (run->kind == d->run.kind && is_same_name(j, run->log_group, d->run.log_group) &&
        is_same_name(j, run->owner, d->run.owner)) {
        j->has.names = before->names;
        run->may_hold_header |= d->run.may_hold_header;
    } else {
        end_run(j);
        *run = d->run;
    }
    run->text_end = (int64_t)j->has.text;
    run->line_end = (int64_t)j->has.lines;
}

static void read_document(fc_json *j) {
    cursor *c = &j->c;
    const uint8_t *start = c->at;
    extent before = j->has;
    document d = {.run = {.log_group.size = -1, .owner.size = -1, .kind = NO_KIND}, .time = -1};
    enum key key;
    c->bits = 0;
    c->at++;
    for (bool is_first = true; !c->fault && next_key(c, is_first, &key); is_first = false)
        read_member(j, &d, key);
    bool is_ascii = !(c->bits & ONES << 7);
    if (c->fault || j->no_memory || (!is_ascii && !is_utf8(start, (size_t)(c->at - start)))) {
        fail(c);
        return;
    }
    if (d.is_control && (d.run.kind == NO_KIND || d.run.kind == FC_LOG_EVENTS)) {
        /* It only says that the subscription is alive. */
        j->has = before;
        d.run = (fc_run){.log_group.size = -1, .owner.size = -1, .kind = FC_LOG_EVENTS};
    } else if (d.is_control || d.run.kind == NO_KIND) {
        fail(c);
        return;
    }
    if (d.run.kind == FC_SINGLE)
        set_times(j, before.lines, d.time);
    add_document(j, &d, &before);
}

/* Go to the next document. Returns what stands behind the first newline before it; NULL if there
 * is none. */
static const uint8_t *next_document(cursor *c) {
    const uint8_t *behind = NULL;
    for (; c->at < c->end && is_blank(*c->at); c->at++)
        if (*c->at == '\n' && !behind)
            behind = c->at + 1;
    return behind;
}

/* Read documents. Returns the end of what is read: where the text ends, or where the last documents
 * begin that are parted from those before by a newline. */
static const uint8_t *read_documents(fc_json *j, const uint8_t *text) {
    cursor *c = &j->c;
    const uint8_t *sure = text;
    extent at_sure = j->has;
    for (bool is_first = true;; is_first = false) {
        const uint8_t *behind = next_document(c);
        if (c->at == c->end)
            return c->end;
        if (*c->at == '{' && behind && !is_first)
            sure = behind, at_sure = j->has;
        if (*c->at == '{')
            read_document(j);
        else
            fail(c);
        if (c->fault || j->no_memory) {
            j->has = at_sure;
            return sure;
        }
    }
}

fc_json *fc_json_new(void) {
    return calloc(1, sizeof(fc_json));
}

void fc_json_free(fc_json *j) {
    if (!j)
        return;
    free(j->text);
    free(j->names);
    free(j->times);
    free(j->runs);
    free(j);
}

int32_t fc_read_messages(fc_json *j, const uint8_t *text, int64_t size, int32_t are_events,
                         fc_messages *found) {
    size_t bytes = size > 0 ? (size_t)size : 0;
    if (!grow((void **)&j->text, &j->text_room, bytes + 1, 1) ||
        !grow((void **)&j->names, &j->names_room, bytes + 1, 1))
        return FC_NO_MEMORY;
    j->has = (extent){.run.kind = NO_KIND};
    j->c = (cursor){.at = text, .end = text + bytes};
    j->are_events = are_events;
    j->no_memory = false;
    const uint8_t *end = read_documents(j, text);
    end_run(j);
    *found = (fc_messages){
        .consumed = end - text,
        .text = j->text,
        .times = j->times,
        .names = j->names,
        .runs = j->runs,
        .run_count = (int64_t)j->has.runs,
    };
    if (j->no_memory)
        return FC_NO_MEMORY;
    return j->c.fault ? FC_QUESTION : FC_OK;
}

int64_t fc_count(const uint8_t *text, int64_t size, uint8_t byte) {
    int64_t count = 0;
    while (size > 0) {
        /* Compilers count in the lanes of a vector if the sum is no wider than they are. */
        int64_t piece = size < UINT8_MAX ? size : UINT8_MAX;
        uint8_t found = 0;
        for (int64_t i = 0; i < piece; i++)
            found = (uint8_t)(found + (text[i] == byte));
        count += found;
        text += piece;
        size -= piece;
    }
    return count;
}
