/* All that Python calls: JSON -> text of flow logs -> columns in Arrow's layout -> pages of
 * Parquet; and pages -> columns.
 *
 * The parts know nothing of each other: text, and Arrow, stand between them. */
#ifndef FLOWCONV_H
#define FLOWCONV_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define FC_API __declspec(dllexport)
#else
#define FC_API __attribute__((visibility("default")))
#endif

/* Raised whenever something in this file changes; the Python side refuses another library. */
#define FC_API_VERSION 10

FC_API int32_t fc_api_version(void);

/* Arrow's C data interface: https://arrow.apache.org/docs/format/CDataInterface.html */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count; /* -1: not known */
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

#endif

/* --- text -> columns (rows.c) ---------------------------------------------------------------- */

/* A builder collects the rows of a batch. `fc_append` adds the rows of a piece of text; `fc_take`
 * makes a batch of them, without a copy. The builder goes on with the next batch, and knows the
 * texts of the last. Nothing here keeps a pointer to
 * text. Lengths are in bytes, offsets count from the start of the text that was given, lines and
 * rows count from what the caller says. A builder is used by one thread at a time.
 */

/* The text that one batch takes at most: offsets of Arrow's texts have 31 bits. */
#define FC_MOST_TEXT INT32_MAX

/* AWS has some 90 fields; a format of more than this is refused before it comes here. */
#define FC_MOST_FIELDS 4096

enum fc_type {
    FC_TEXT = 0,    /* int32 numbers of values in a dictionary */
    FC_INT32 = 1,   /* int32 */
    FC_INT64 = 2,   /* int64 */
    FC_SECONDS = 3, /* int64; what is above FC_MOST_SECONDS is milliseconds, and becomes seconds */
};

/* The last second of the year 9999. */
#define FC_MOST_SECONDS INT64_C(253402300799)

enum fc_status {
    FC_OK = 0,
    FC_QUESTION = 1, /* the line at `consumed` may be a header or several records: see fc_append */
    FC_FULL = 2,     /* nothing was done: it would hold more than FC_MOST_TEXT */
    FC_NO_MEMORY = 3 /* the builder can only be freed */
};

/* Why a line does not fit. */
enum fc_reason {
    FC_NOT_UTF8 = 1,
    FC_CONTROL_CHARACTER = 2, /* a carriage return in its middle */
    FC_NOT_A_TIMESTAMP = 3,
    FC_TOO_FEW_VALUES = 4,
    FC_TOO_MANY_VALUES = 5,
    FC_NOT_A_NUMBER = 6,
    FC_OUT_OF_RANGE = 7
};

/* How delimiters are found. The rows are the same. */
enum fc_speed { FC_BEST = 0, FC_WORDS = 1, FC_AVX2 = 2, FC_NEON = 3 };

typedef struct {
    int64_t largest; /* the largest number that can be; 0 is the least */
    int32_t type;    /* enum fc_type */
} fc_field;

typedef struct {
    const fc_field *fields; /* one for each value of a line */
    int32_t field_count;    /* 1 to FC_MOST_FIELDS */
    int32_t timestamped;    /* before the values stands the time of a CloudWatch event */
    const uint8_t *names; /* names of fields in lower case letters and digits, one behind another */
    const int32_t *name_offsets; /* name_count + 1 of them */
    int32_t name_count;
    int32_t speed;         /* enum fc_speed */
    int64_t stretch_bytes; /* so much text is looked at together; 0 is the best for caches */
    uint64_t seed; /* any number that writers of logs cannot know: it shuffles hash tables */
} fc_plan;

/* A line that does not fit. */
typedef struct {
    int64_t line;   /* its number */
    int32_t offset; /* of its first byte */
    int32_t length; /* without its line end */
    int16_t reason; /* enum fc_reason */
    int16_t field;  /* index of the first field at fault; -1 if it is none */
    int32_t unused;
} fc_rejected;

/* What became of a piece of text. Lines = rows + blank + comment + rejected. */
typedef struct {
    int64_t consumed; /* bytes that were read */
    int64_t lines;
    int64_t rows;
    int64_t blank;
    int64_t comment;
    int64_t milliseconds; /* rows that had times in milliseconds */
    int64_t rejected;
    const fc_rejected *rejections; /* until the builder is used again */
} fc_appended;

typedef struct fc_builder fc_builder;

/* What FC_BEST stands for on this processor; FC_BEST itself if `speed` is not there. */
FC_API int32_t fc_speed(int32_t speed);

/* NULL if there is no memory, or the plan has a number that it must not have. */
FC_API fc_builder *fc_builder_new(const fc_plan *plan);

FC_API void fc_builder_free(fc_builder *builder);

/* Add the rows of whole lines; the last may lack its newline.
 *
 * A line of nothing but possible names of fields, at least half of which are in the plan, or one
 * that has the values of two records is a question:
 * all lines before it are read, and `consumed` is its offset. Whoever asked reads it by himself and
 * goes on behind it, or goes on at it with `settled`, which makes it a line like others.
 */
FC_API int32_t fc_append(fc_builder *builder, const uint8_t *text, int64_t size, int64_t first_line,
                         int32_t settled, fc_appended *appended);

/* A part of a text that has lines of its own. */
typedef struct {
    int64_t start; /* offset of its first byte */
    int64_t size;
    int64_t first_line; /* number of its first line */
} fc_part;

/* Do as fc_append does for each part of a text, up to the first that leaves something to do: a
 * question, or lines that do not fit. Returns how many were read, that one too; `appended` has room
 * for `count`, and `status` becomes that of the last. */
FC_API int64_t fc_append_parts(fc_builder *builder, const uint8_t *text, int64_t size,
                               const fc_part *parts, int64_t count, fc_appended *appended,
                               int32_t *status);

/* Forget the rows behind the first `rows`. Their texts may stay in the dictionaries. */
FC_API void fc_truncate(fc_builder *builder, int64_t rows);

FC_API int64_t fc_rows(const fc_builder *builder);

/* Take the rows out of the builder, which has none then, as an array of structs. Its columns are
 * those of the plan: int64, int32, or dictionaries of utf8 with int32 indices, with the texts in
 * the order of the log. Null rows hold 0. Then come the number of each row's line, int64, and, if
 * the plan is timestamped, when each row's event was, int64, in milliseconds since 1970; -1 if
 * there was no such time.
 *
 * The dictionaries of the next batch begin with the texts of this one, unless these are very many;
 * they share their memory. Each may be read and released by another thread. FC_NO_MEMORY: the
 * builder can only be freed, and nothing was written. */
FC_API int32_t fc_take(fc_builder *builder, struct ArrowArray *rows);

/* --- JSON -> the lines in its messages (json.c) ------------------------------------------------
 */

/* Where a document has its messages. */
enum fc_kind {
    FC_LOG_EVENTS = 0, /* {"logEvents": [{"message": ...}]}: a subscription; or a control message */
    FC_EVENTS = 1,     /* {"events": [{"message": ...}]} */
    FC_SINGLE = 2,     /* {"message": ...} */
};

typedef struct {
    int64_t start; /* offset in `names` */
    int64_t size;  /* in bytes; -1: there is none */
} fc_name;

/* Documents of one kind and with the same names that follow one another. */
typedef struct {
    fc_name log_group;
    fc_name owner;
    int64_t text_end;        /* offset behind their lines; they begin where the run before ends */
    int64_t line_end;        /* the same in lines */
    int32_t kind;            /* enum fc_kind */
    int32_t may_hold_header; /* 1: a line begins with a blank, a letter or '$' */
} fc_run;

/* What was read; until the reader is used again or freed. */
typedef struct {
    int64_t consumed;     /* bytes of JSON */
    const uint8_t *text;  /* the lines of all messages; each ends with a newline */
    const int64_t *times; /* each line's event's, in milliseconds since 1970; -1 is not known */
    const uint8_t *names; /* UTF-8 */
    const fc_run *runs;
    int64_t run_count;
} fc_messages;

/* A reader keeps its memory from one text to the next. */
typedef struct fc_json fc_json;

/* NULL if there is no memory. */
FC_API fc_json *fc_json_new(void);

FC_API void fc_json_free(fc_json *json);

/* Read whole documents, with blanks or nothing between them.
 *
 * FC_QUESTION: those at `consumed` are damaged, or unusual, and theirs is the judgement of whoever
 * asked; they end at the next newline between '}' and '{'. All before them is read. FC_NO_MEMORY:
 * nothing is. `are_events`: what has one message may have the time of its event. */
FC_API int32_t fc_read_messages(fc_json *json, const uint8_t *text, int64_t size,
                                int32_t are_events, fc_messages *found);

/* Count a byte. */
FC_API int64_t fc_count(const uint8_t *text, int64_t size, uint8_t byte);

/* --- columns -> chunks (arrow.c, distinct.c, sorting.c, pages.c, chunks.c, bloom.c) ---------- */

/* A column of a row group is a list of `entries` and, for each row, the `number` of its entry.
Numbers make everything else simple: sorting moves numbers alone, a dictionary page is the list of
entries, and in a sorted list without repetition numbers compare as the values do.

All memory belongs to the caller unless a function says otherwise. Lengths are in bytes where the
name says so, else in elements. Functions that can fail return a negative `fc_failure`. */

/* The number of a row without a value. */
#define FC_NULL UINT32_MAX

enum fc_failure {
    FC_OUT_OF_MEMORY = -1,
    FC_TOO_MANY = -2,     /* more distinct values than the caller wants */
    FC_BAD_INDEX = -3,    /* a row's index is beyond its dictionary */
    FC_BAD_OFFSETS = -4,  /* the offsets of texts do not ascend */
    FC_SMALL_BUFFER = -5, /* a page does not fit into the buffer for it */
    FC_BAD_TYPE = -6,     /* an Arrow type that no column of its kind has */
    FC_BAD_PAGE = -7,     /* a page that is read ends early, or says what cannot be */
    FC_BAD_METADATA = -8, /* a footer, or a page's header, does so */
};

/* A text; its bytes lie in an Arrow buffer. */
typedef struct {
    const uint8_t *bytes;
    uint64_t size_bytes;
} fc_text;

enum fc_physical_type { FC_PHYSICAL_INT32, FC_PHYSICAL_INT64, FC_PHYSICAL_TEXT };

/* A column of a row group, ready to be written. */
typedef struct {
    const void *entries;     /* int64_t, also those of FC_PHYSICAL_INT32; or fc_text */
    const uint32_t *numbers; /* one for each row */
    uint32_t rows;
    uint8_t type;  /* fc_physical_type */
    uint8_t ranks; /* 1: entries ascend without repetition */
    uint8_t width; /* bits of a number in a page; 0 writes the values themselves (PLAIN) */
} fc_chunk;

/* What a data page holds. */
typedef struct {
    uint64_t size_bytes;
    uint32_t rows;
    uint32_t nulls;
    uint32_t least;    /* number of the least value's entry; FC_NULL without values */
    uint32_t greatest; /* likewise */
} fc_page;

/* arrow.c */

/* Rows: an array of structs, of which each child is a column. */
typedef struct {
    const struct ArrowSchema *schema;
    const struct ArrowArray *array;
} fc_arrow_batch;

/* Count the nulls of `columns` columns of all batches, those of dictionaries not counted. */
FC_API void fc_count_nulls(const fc_arrow_batch *batches, uint32_t count, uint32_t columns,
                           uint64_t *nulls);

/* Count the entries of a column of some batches: its rows if it has integers, else its texts. A
dictionary that begins where that of the batch before lies has only its further texts counted.
FC_BAD_TYPE if the column has another type than these: int32, or int64 and timestamp; utf8,
large_utf8, and dictionaries of them with int32 indices; null. */
FC_API int64_t fc_count_entries(const fc_arrow_batch *batches, uint32_t count, uint32_t place,
                                uint8_t type);

/* Read a column, an fc_physical_type: its entries, as many as were counted, and for each row the
number of its entry. Returns the number of nulls, or a failure. Texts stay where they are. */
FC_API int64_t fc_read_column(const fc_arrow_batch *batches, uint32_t count, uint32_t place,
                              uint8_t type, void *entries, uint32_t *numbers);

/* distinct.c */

/* Find the distinct values of all rows. Writes them to `distinct` in ascending order, and numbers
the rows by them. If there are more than `limit`, returns FC_TOO_MANY and changes no number. Else
returns how many there are. `distinct` has room for `rows` values and at least `limit`; `seed` is a
secret that keeps logs from being made to collide, and has no influence on the result. */
FC_API int64_t fc_distinct_integers(const int64_t *entries, uint32_t *numbers, uint32_t rows,
                                    uint32_t limit, uint64_t seed, int64_t *distinct);
/* `entries` has `count` texts, of which the rows need not use all. */
FC_API int64_t fc_distinct_texts(const fc_text *entries, uint32_t count, uint32_t *numbers,
                                 uint32_t rows, uint32_t limit, uint64_t seed, fc_text *distinct);

/* sorting.c */

/* Refine an order of rows: a stable sort by one more key, of which `numbers` are ranks below
`ranks`; nulls come first. The last key is sorted by first. `order` NULL is the rows' own. */
FC_API int fc_sort(const uint32_t *numbers, uint32_t rows, uint32_t ranks, const uint32_t *order,
                   uint32_t *sorted);

/* Put numbers into an order of rows. */
FC_API void fc_reorder(const uint32_t *numbers, const uint32_t *order, uint32_t rows,
                       uint32_t *reordered);

/* pages.c */

/* Return the size of all values written PLAIN. */
FC_API uint64_t fc_plain_bytes(const fc_chunk *column);

/* Return the size of the first `count` entries written PLAIN; `longest` becomes that of the largest
of them. */
FC_API uint64_t fc_entry_bytes(const fc_chunk *column, uint32_t count, uint64_t *longest);

/* A page as it lies in a file, or is to be compressed. */
typedef struct {
    const uint8_t *packed;
    uint64_t packed_bytes;
    uint64_t with_header_bytes; /* found by fc_write_chunk */
    uint32_t checksum;          /* CRC-32 of `packed` */
    uint32_t unused;
    fc_page page; /* of a dictionary page, `rows` are entries, and the rest means nothing */
} fc_packed_page;

/* Write data pages (version 1, not compressed) one behind another: the rows from `first` on, until
all are written, the next page does not fit, or there are `most_pages`. A page has `most_rows`, or
fewer if their values would take more than `most_bytes`, but one at least. `scratch` has room for
`most_rows`; `pages` gets where each page lies and what it holds, `count` their number. Returns the
row after the last, or FC_SMALL_BUFFER if not one page fits. */
FC_API int64_t fc_data_pages(const fc_chunk *column, uint32_t first, uint32_t most_rows,
                             uint64_t most_bytes, uint32_t *scratch, uint8_t *out,
                             uint64_t capacity_bytes, fc_packed_page *pages, uint32_t most_pages,
                             uint32_t *count);

/* The most that a data page of `rows` takes, if its values take `value_bytes`. */
FC_API uint64_t fc_page_capacity(uint32_t rows, uint8_t width, uint64_t value_bytes);

/* Write a dictionary page (not compressed) of the first `count` entries; `out` has room for them.
Returns its size. */
FC_API uint64_t fc_dictionary_page(const fc_chunk *column, uint32_t count, uint8_t *out);

/* chunks.c */

/* A chunk that is to be written, and where its parts lie then. */
typedef struct {
    const fc_chunk *column; /* for the pages' bounds; without values, no entry is looked at */
    fc_packed_page *pages;
    const uint8_t *name; /* of the column */
    uint64_t start;      /* of the chunk in its file */
    uint32_t name_bytes;
    uint32_t page_count;
    uint32_t has_dictionary; /* 1: the first page is the dictionary */
    int32_t codec;           /* Parquet's number of the compression */
    uint32_t filter_bytes;   /* of the Bloom filter that stands right behind the chunk; 0: none */
    uint32_t unused;
    uint64_t plain_bytes;      /* found: of all pages and headers before compression */
    uint64_t size_bytes;       /* found: of all pages and headers; the metadata begins here */
    uint64_t metadata_end;     /* found; the column index begins here */
    uint64_t column_index_end; /* found; the offset index begins here */
} fc_written_chunk;

/* Write one behind another: the pages with their headers, ColumnMetaData, ColumnIndex, OffsetIndex.
Returns the size of all; if it is more than the capacity, what was written is not whole. Texts are
UTF-8. */
FC_API uint64_t fc_write_chunk(fc_written_chunk *chunk, uint8_t *out, uint64_t capacity_bytes);

/* bloom.c */

/* Set the bits of `count` texts in a split block Bloom filter of `blocks` of 32 bytes, which is
all zeros at first. */
FC_API void fc_bloom_filter(const fc_text *texts, uint32_t count, uint32_t *filter,
                            uint32_t blocks);

/* --- pages -> columns (metadata.c, decoding.c) ----------------------------------------------- */

/* Files that others wrote; nothing that stands in them is trusted. Pages are read of columns
without repetition, unpacked: version 1, PLAIN or by numbers of entries in a dictionary. */

/* metadata.c */

/* Part of a footer. */
typedef struct {
    uint32_t start, size_bytes;
} fc_place;

/* A column, or what has columns: those stand behind it. What a footer does not say is 0, or -1
where that says something. */
typedef struct {
    fc_place name;
    int32_t type; /* Parquet's number; -1: it has columns */
    int32_t type_length;
    int32_t repetition;
    int32_t children;
    int32_t annotation;       /* ConvertedType; or -1 */
    int32_t newer_annotation; /* the number of LogicalType's member; 0: of none; or -1 */
} fc_schema_part;

typedef struct {
    int64_t values; /* nulls included */
    int64_t start;  /* of its first data page in the file */
    int64_t dictionary_start;
    int64_t size_bytes; /* of its pages */
    int32_t codec;      /* Parquet's number */
    uint32_t is_encrypted;
} fc_chunk_place;

typedef struct {
    int64_t rows;
    int64_t size_bytes; /* not compressed */
    uint64_t chunks;    /* their number; they stand behind those of the groups before */
} fc_row_group;

typedef struct {
    fc_place name, value;
} fc_pair;

/* What a footer says. The memory of each list belongs to the caller; NULL: it is counted alone. */
typedef struct {
    fc_schema_part *schema;
    fc_row_group *groups;
    fc_chunk_place *chunks;
    fc_pair *pairs; /* what writers add */
    uint64_t schema_count, group_count, chunk_count, pair_count;
    int64_t rows;
} fc_footer;

/* Read a footer: first to count, then to fill the lists. Returns 0 or FC_BAD_METADATA. */
FC_API int64_t fc_read_footer(const uint8_t *bytes, uint64_t size_bytes, fc_footer *found);

/* A page, as its header describes it. */
typedef struct {
    uint64_t start; /* of its bytes in the file, behind the header */
    int32_t kind;   /* PageType */
    int32_t packed_bytes, size_bytes;
    int32_t values; /* nulls included; of a dictionary, its entries */
    int32_t encoding;
    int32_t levels; /* the encoding of levels, in pages of version 1 */
    uint32_t has_checksum;
    uint32_t checksum; /* CRC-32 of the packed bytes */
} fc_page_header;

/* Read the headers of pages that lie from `place` to `stop` in a file, until they have `values` or
there are `most`. `place` becomes the end of the last page, and `values` what is left of them.
Returns the number of pages, none of which is beyond `stop`; FC_BAD_METADATA, or FC_BAD_PAGE if one
has an impossible size. */
FC_API int64_t fc_read_page_headers(const uint8_t *file, uint64_t *place, uint64_t stop,
                                    int64_t *values, fc_page_header *headers, uint32_t most);

/* decoding.c */

/* RLE/bit-packing hybrid, of which the first numbers were read. */
typedef struct {
    const uint8_t *at, *end; /* what is not begun */
    const uint8_t *packed;   /* the run that is read, up to `at`; NULL: it repeats `value` */
    uint64_t bit;            /* of `packed` */
    uint64_t left;           /* numbers in the run */
    uint32_t value;
    uint32_t width; /* bits of a number */
} fc_numbers;

/* A page, of which the first rows were read. Its bytes stay where they are. */
typedef struct {
    fc_numbers levels; /* 1 for each row with a value, if there may be others */
    fc_numbers places; /* of values, in the dictionary */
    const uint8_t *values, *values_end;
    uint32_t rows; /* that are left */
    uint8_t may_be_null;
    uint8_t has_places;
} fc_page_reader;

/* Begin a page of `rows`. `may_be_null`: levels say which rows have a value (the column is
OPTIONAL). Returns 0 or FC_BAD_PAGE. */
FC_API int64_t fc_begin_page(fc_page_reader *page, const uint8_t *bytes, uint64_t size_bytes,
                             uint32_t rows, uint8_t may_be_null, uint8_t has_places);

/* Read the next rows to `out`, integers of `size` bytes, 4 or 8: from a dictionary of `entries` of
that size, or from the page itself. Those without a value are 0. `validity` has bits for them from
`at` on, all of them 0 before. Returns the number of nulls, or FC_BAD_PAGE. */
FC_API int64_t fc_read_integers(fc_page_reader *page, uint32_t rows, uint8_t size,
                                const void *dictionary, uint32_t entries, void *out,
                                uint8_t *validity, uint64_t at);

/* Read the next rows of a page with places in a dictionary of `entries`, likewise. The place `null`
stands for no value; FC_NULL: none does. */
FC_API int64_t fc_read_places(fc_page_reader *page, uint32_t rows, uint32_t entries, uint32_t null,
                              uint32_t *out, uint8_t *validity, uint64_t at);

/* Return the bytes of the texts of the next rows of a PLAIN page, or FC_BAD_PAGE. */
FC_API int64_t fc_measure_texts(const fc_page_reader *page, uint32_t rows);

/* Read the next rows, of which `bytes` has room for the texts; `offsets` has one more than there
are rows, and `validity` a bit for each, all of them 0 before. The byte `null` alone stands for no
text; -1: none does. Returns the number of nulls, or FC_BAD_PAGE. */
FC_API int64_t fc_read_texts(fc_page_reader *page, uint32_t rows, int32_t null, int32_t *offsets,
                             uint8_t *bytes, uint8_t *validity);

/* Return the place of the first text, in Arrow's layout, that is this byte; FC_NULL: none is. */
FC_API uint32_t fc_find_byte(const int32_t *offsets, const uint8_t *bytes, uint32_t count,
                             uint8_t byte);

/* Return the bytes of the texts at `count` places that are valid: `validity` has a bit for each,
from `at` on; NULL: all are. */
FC_API uint64_t fc_measure_places(const uint32_t *places, const uint8_t *validity, uint64_t at,
                                  uint32_t count, const int32_t *offsets);

/* Return the length of the longest of at most `count` texts of a PLAIN page, each of which stands
behind its length; the page's own if one leads beyond it. */
FC_API uint64_t fc_longest_text(const uint8_t *page, uint64_t size_bytes, uint64_t count);

#endif
