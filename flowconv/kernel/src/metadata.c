/* A Parquet file's footer, and the headers of its pages -> numbers.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift */

#include "flowconv.h"
#include "thrift.h"

#include <stdbool.h>
#include <string.h>

/* Lists and structs within each other: those of Parquet have nine levels. */
#define DEEPEST 12

/* Statistics make headers long. */
#define LONGEST_HEADER (UINT64_C(1) << 20)

/* --- Thrift's compact protocol --------------------------------------------------------------- */

typedef struct {
    const uint8_t *at, *end;
    bool is_bad; /* it ends early, or says what cannot be */
} reader;

/* What stands before a field's value. */
typedef struct {
    int number;
    int type; /* enum thrift_type */
} field;

/* A field's number and type; one of another type is passed, as decoders do. */
#define FIELD(number, type) ((number) * 16 + (type))

static uint8_t read_byte(reader *in) {
    if (in->at == in->end) {
        in->is_bad = true;
        return 0;
    }
    return *in->at++;
}

static uint64_t read_varint(reader *in) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_byte(in);
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
    in->is_bad = true;
    return 0;
}

static int64_t read_i64(reader *in) {
    uint64_t value = read_varint(in);
    return (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0));
}

static int32_t read_i32(reader *in) {
    return (int32_t)read_i64(in);
}

static void pass_bytes(reader *in, uint64_t count) {
    if (count > (uint64_t)(in->end - in->at))
        in->is_bad = true;
    else
        in->at += count;
}

/* Go to the next field of a struct; false at its end. */
static bool next_field(reader *in, field *f) {
    uint8_t head = read_byte(in);
    if (head == 0 || in->is_bad)
        return false;
    f->type = head & 15;
    f->number = (int16_t)(head >> 4 ? f->number + (head >> 4) : read_i64(in));
    return !in->is_bad;
}

/* Begin a list; returns the number of its items, all of which are of `type`, else the list is bad.
 */
static uint64_t begin_list(reader *in, int type) {
    uint8_t head = read_byte(in);
    uint64_t count = head >> 4;
    if (count == 15)
        count = read_varint(in);
    if (count > 0 && (head & 15) != type)
        in->is_bad = true;
    return in->is_bad ? 0 : count;
}

static void pass(reader *in, int type, int depth);

static void pass_list(reader *in, int depth) {
    uint8_t head = read_byte(in);
    uint64_t count = head >> 4;
    if (count == 15)
        count = read_varint(in);
    for (; count > 0 && !in->is_bad; count--) {
        if ((head & 15) == THRIFT_TRUE || (head & 15) == THRIFT_FALSE)
            pass_bytes(in, 1);
        else
            pass(in, head & 15, depth);
    }
}

static void pass_struct(reader *in, int depth) {
    for (field f = {0}; next_field(in, &f);)
        pass(in, f.type, depth);
}

/* Pass a value. */
static void pass(reader *in, int type, int depth) {
    if (depth > DEEPEST)
        in->is_bad = true;
    if (in->is_bad)
        return;
    switch (type) {
    case THRIFT_TRUE:
    case THRIFT_FALSE:
        return; /* it is its type */
    case THRIFT_BYTE:
        pass_bytes(in, 1);
        return;
    case THRIFT_I16:
    case THRIFT_I32:
    case THRIFT_I64:
        read_varint(in);
        return;
    case THRIFT_DOUBLE:
        pass_bytes(in, 8);
        return;
    case THRIFT_BINARY:
        pass_bytes(in, read_varint(in));
        return;
    case THRIFT_LIST:
    case THRIFT_SET:
        pass_list(in, depth + 1);
        return;
    case THRIFT_STRUCT:
        pass_struct(in, depth + 1);
        return;
    default:
        in->is_bad = true; /* Parquet has no maps */
    }
}

/* --- headers of pages ------------------------------------------------------------------------ */

enum { DATA_PAGE = 0, DICTIONARY_PAGE = 2, DATA_PAGE_V2 = 3, RLE = 3 };

/* Of DataPageHeader, DictionaryPageHeader or DataPageHeaderV2. */
typedef struct {
    int32_t values, encoding, levels;
} page_facts;

static void read_page_facts(reader *in, int encoding_number, int levels_number, page_facts *facts) {
    for (field f = {0}; next_field(in, &f);) {
        if (f.type != THRIFT_I32)
            pass(in, f.type, 1);
        else if (f.number == 1)
            facts->values = read_i32(in);
        else if (f.number == encoding_number)
            facts->encoding = read_i32(in);
        else if (f.number == levels_number)
            facts->levels = read_i32(in);
        else
            read_i32(in);
    }
}

static void read_page_header(reader *in, fc_page_header *header) {
    page_facts data = {0}, dictionary = {.levels = RLE}, data_v2 = {.levels = RLE}, none = {0};
    *header = (fc_page_header){0};
    for (field f = {0}; next_field(in, &f);) {
        switch (FIELD(f.number, f.type)) {
        case FIELD(1, THRIFT_I32):
            header->kind = read_i32(in);
            break;
        case FIELD(2, THRIFT_I32):
            header->size_bytes = read_i32(in);
            break;
        case FIELD(3, THRIFT_I32):
            header->packed_bytes = read_i32(in);
            break;
        case FIELD(4, THRIFT_I32):
            header->checksum = (uint32_t)read_i32(in);
            header->has_checksum = 1;
            break;
        case FIELD(5, THRIFT_STRUCT):
            read_page_facts(in, 2, 3, &data);
            break;
        case FIELD(7, THRIFT_STRUCT):
            read_page_facts(in, 2, -1, &dictionary);
            break;
        case FIELD(8, THRIFT_STRUCT):
            read_page_facts(in, 4, -1, &data_v2);
            break;
        default:
            pass(in, f.type, 0);
        }
    }
    const page_facts *facts = header->kind == DATA_PAGE         ? &data
                              : header->kind == DICTIONARY_PAGE ? &dictionary
                              : header->kind == DATA_PAGE_V2    ? &data_v2
                                                                : &none;
    header->values = facts->values;
    header->encoding = facts->encoding;
    header->levels = facts->levels;
}

int64_t fc_read_page_headers(const uint8_t *file, uint64_t *place, uint64_t stop, int64_t *values,
                             fc_page_header *headers, uint32_t most) {
    uint32_t count = 0;
    for (; *values > 0 && count < most; count++) {
        uint64_t there = stop - *place;
        fc_page_header *header = headers + count;
        reader in = {file + *place,
                     file + *place + (there < LONGEST_HEADER ? there : LONGEST_HEADER), false};
        read_page_header(&in, header);
        if (in.is_bad)
            return FC_BAD_METADATA;
        header->start = (uint64_t)(in.at - file);
        if (header->size_bytes < 0 || header->packed_bytes < 0 || header->values < 0 ||
            (uint64_t)header->packed_bytes > stop - header->start)
            return FC_BAD_PAGE;
        *place = header->start + (uint64_t)header->packed_bytes;
        *values -= header->kind == DICTIONARY_PAGE ? 0 : header->values;
    }
    return count;
}

/* --- footers --------------------------------------------------------------------------------- */

/* Where the next item goes: behind those that are counted, or nowhere if they are counted alone. */
#define NEXT(items, count, unused) ((items) ? (items) + (count) : (unused))

static fc_place read_place(reader *in, const uint8_t *bytes) {
    uint64_t size = read_varint(in);
    fc_place place = {(uint32_t)(in->at - bytes), (uint32_t)size};
    pass_bytes(in, size);
    return place;
}

/* Return the number of the member that a union has; 0: none. */
static int32_t read_union(reader *in) {
    int32_t member = 0;
    for (field f = {0}; next_field(in, &f); pass(in, f.type, 2))
        member = f.type == THRIFT_STRUCT ? f.number : member;
    return member;
}

static void read_schema_part(reader *in, const uint8_t *bytes, fc_schema_part *part) {
    *part = (fc_schema_part){.type = -1, .annotation = -1, .newer_annotation = -1};
    for (field f = {0}; next_field(in, &f);) {
        switch (FIELD(f.number, f.type)) {
        case FIELD(1, THRIFT_I32):
            part->type = read_i32(in);
            break;
        case FIELD(2, THRIFT_I32):
            part->type_length = read_i32(in);
            break;
        case FIELD(3, THRIFT_I32):
            part->repetition = read_i32(in);
            break;
        case FIELD(4, THRIFT_BINARY):
            part->name = read_place(in, bytes);
            break;
        case FIELD(5, THRIFT_I32):
            part->children = read_i32(in);
            break;
        case FIELD(6, THRIFT_I32):
            part->annotation = read_i32(in);
            break;
        case FIELD(10, THRIFT_STRUCT):
            part->newer_annotation = read_union(in);
            break;
        default:
            pass(in, f.type, 1);
        }
    }
}

/* Of ColumnMetaData. */
static void read_chunk_facts(reader *in, fc_chunk_place *chunk) {
    for (field f = {0}; next_field(in, &f);) {
        switch (FIELD(f.number, f.type)) {
        case FIELD(4, THRIFT_I32):
            chunk->codec = read_i32(in);
            break;
        case FIELD(5, THRIFT_I64):
            chunk->values = read_i64(in);
            break;
        case FIELD(7, THRIFT_I64):
            chunk->size_bytes = read_i64(in);
            break;
        case FIELD(9, THRIFT_I64):
            chunk->start = read_i64(in);
            break;
        case FIELD(11, THRIFT_I64):
            chunk->dictionary_start = read_i64(in);
            break;
        default:
            pass(in, f.type, 4);
        }
    }
}

/* Of ColumnChunk. */
static void read_chunk_place(reader *in, fc_chunk_place *chunk) {
    *chunk = (fc_chunk_place){0};
    for (field f = {0}; next_field(in, &f);) {
        switch (FIELD(f.number, f.type)) {
        case FIELD(3, THRIFT_STRUCT):
            read_chunk_facts(in, chunk);
            break;
        case FIELD(8, THRIFT_STRUCT):
        case FIELD(9, THRIFT_BINARY):
            chunk->is_encrypted = 1;
            pass(in, f.type, 3);
            break;
        default:
            pass(in, f.type, 3);
        }
    }
}

static void read_row_group(reader *in, fc_footer *found, fc_row_group *group) {
    *group = (fc_row_group){0};
    fc_chunk_place unused;
    for (field f = {0}; next_field(in, &f);) {
        switch (FIELD(f.number, f.type)) {
        case FIELD(1, THRIFT_LIST):
            for (uint64_t left = begin_list(in, THRIFT_STRUCT); left > 0 && !in->is_bad; left--) {
                read_chunk_place(in, NEXT(found->chunks, found->chunk_count, &unused));
                found->chunk_count++;
                group->chunks++;
            }
            break;
        case FIELD(2, THRIFT_I64):
            group->size_bytes = read_i64(in);
            break;
        case FIELD(3, THRIFT_I64):
            group->rows = read_i64(in);
            break;
        default:
            pass(in, f.type, 1);
        }
    }
}

/* Of KeyValue. */
static void read_pair(reader *in, const uint8_t *bytes, fc_pair *pair) {
    *pair = (fc_pair){0};
    for (field f = {0}; next_field(in, &f);) {
        if (f.type == THRIFT_BINARY && f.number == 1)
            pair->name = read_place(in, bytes);
        else if (f.type == THRIFT_BINARY && f.number == 2)
            pair->value = read_place(in, bytes);
        else
            pass(in, f.type, 1);
    }
}

static void read_list(reader *in, const uint8_t *bytes, int number, fc_footer *found) {
    fc_schema_part unused_part;
    fc_row_group unused_group;
    fc_pair unused_pair;
    for (uint64_t left = begin_list(in, THRIFT_STRUCT); left > 0 && !in->is_bad; left--) {
        if (number == 2)
            read_schema_part(in, bytes, NEXT(found->schema, found->schema_count, &unused_part));
        else if (number == 4)
            read_row_group(in, found, NEXT(found->groups, found->group_count, &unused_group));
        else
            read_pair(in, bytes, NEXT(found->pairs, found->pair_count, &unused_pair));
        found->schema_count += number == 2;
        found->group_count += number == 4;
        found->pair_count += number == 5;
    }
}

int64_t fc_read_footer(const uint8_t *bytes, uint64_t size_bytes, fc_footer *found) {
    reader in = {bytes, bytes + size_bytes, size_bytes > INT32_MAX};
    found->schema_count = found->group_count = found->chunk_count = found->pair_count = 0;
    found->rows = 0;
    for (field f = {0}; next_field(&in, &f);) {
        switch (FIELD(f.number, f.type)) {
        case FIELD(2, THRIFT_LIST):
        case FIELD(4, THRIFT_LIST):
        case FIELD(5, THRIFT_LIST):
            read_list(&in, bytes, f.number, found);
            break;
        case FIELD(3, THRIFT_I64):
            found->rows = read_i64(&in);
            break;
        default:
            pass(&in, f.type, 0);
        }
    }
    return in.is_bad ? FC_BAD_METADATA : 0;
}
