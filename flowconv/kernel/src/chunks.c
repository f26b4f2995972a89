/* Compressed pages -> a chunk of a file, and what the footer and the page index say of it.
 * https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift */

#include "flowconv.h"
#include "texts.h"
#include "thrift.h"

/* Longer texts are cut in statistics. parquet-java and arrow-rs cut to as many bytes. */
#define LONGEST_BOUND 64u

#define LAST_CHARACTER 0x10FFFFu

enum { DATA_PAGE = 0, DICTIONARY_PAGE = 2 };
enum { PLAIN = 0, RLE = 3, RLE_DICTIONARY = 8 };
enum { UNORDERED = 0, ASCENDING = 1, DESCENDING = 2 };

/* --- bounds: the least and the greatest value ------------------------------------------------ */

/* A value as statistics have it: no more than so many bytes unless a greatest one must be whole. */
typedef struct {
    uint8_t bytes[LONGEST_BOUND];
    fc_text text;
    bool is_whole;
} bound;

static int compare_entries(const fc_chunk *column, uint32_t a, uint32_t b) {
    if (column->ranks)
        return (a > b) - (a < b);
    if (column->type == FC_PHYSICAL_TEXT)
        return compare_texts(((const fc_text *)column->entries)[a],
                             ((const fc_text *)column->entries)[b]);
    int64_t x = ((const int64_t *)column->entries)[a], y = ((const int64_t *)column->entries)[b];
    return (x > y) - (x < y);
}

static void keep(bound *b, const void *bytes, uint64_t size) {
    if (size)
        memcpy(b->bytes, bytes, size);
    b->text = (fc_text){b->bytes, size};
}

static bool is_inside_character(uint8_t byte) {
    return (byte & 0xC0) == 0x80;
}

static uint32_t read_character(const uint8_t *at, uint32_t size) {
    static const uint8_t first_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t character = at[0] & first_bits[size];
    for (uint32_t i = 1; i < size; i++)
        character = character << 6 | (at[i] & 0x3F);
    return character;
}

static uint32_t write_character(uint8_t *at, uint32_t character) {
    uint32_t size = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    static const uint8_t marks[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (uint32_t i = size - 1; i > 0; i--, character >>= 6)
        at[i] = (uint8_t)(0x80 | (character & 0x3F));
    at[0] = (uint8_t)(marks[size] | character);
    return size;
}

/* Make a cut text greater than all that begin with it: the last character that has a successor is
 * replaced by it. False if none has. */
static bool make_greater(bound *b) {
    uint32_t end = (uint32_t)b->text.size_bytes;
    while (end > 0) {
        uint32_t start = end - 1;
        while (start > 0 && end - start < 4 && is_inside_character(b->bytes[start]))
            start--;
        uint32_t next = read_character(b->bytes + start, end - start) + 1;
        if (next == 0xD800) /* surrogates are no characters */
            next = 0xE000;
        uint8_t successor[4];
        uint32_t size = next <= LAST_CHARACTER ? write_character(successor, next) : UINT32_MAX;
        if (size <= LONGEST_BOUND - start) {
            memcpy(b->bytes + start, successor, size);
            b->text.size_bytes = start + size;
            return true;
        }
        end = start;
    }
    return false;
}

static void bound_of_text(bound *b, fc_text text, bool is_greatest) {
    b->is_whole = text.size_bytes <= LONGEST_BOUND;
    if (b->is_whole) {
        keep(b, text.bytes, text.size_bytes);
        return;
    }
    uint64_t end = LONGEST_BOUND; /* no character is cut in two */
    while (end > 0 && is_inside_character(text.bytes[end]))
        end--;
    keep(b, text.bytes, end);
    if (is_greatest && !make_greater(b)) {
        b->text = text;
        b->is_whole = true;
    }
}

static void bound_of(bound *b, const fc_chunk *column, uint32_t entry, bool is_greatest) {
    if (column->type == FC_PHYSICAL_TEXT) {
        bound_of_text(b, ((const fc_text *)column->entries)[entry], is_greatest);
        return;
    }
    int64_t value = ((const int64_t *)column->entries)[entry];
    b->is_whole = true;
    keep(b, &value, column->type == FC_PHYSICAL_INT32 ? 4 : 8); /* little-endian: see texts.h */
}

/* --- headers of pages ------------------------------------------------------------------------ */

static void put_dictionary_header(thrift *out, uint32_t entries) {
    put_field(out, 7, THRIFT_STRUCT);
    int outer = begin_struct(out);
    put_i32(out, 1, (int32_t)entries);
    put_i32(out, 2, PLAIN);
    put_bool(out, 3, true);
    end_struct(out, outer);
}

static void put_data_header(thrift *out, const fc_packed_page *page, bool has_dictionary) {
    put_field(out, 5, THRIFT_STRUCT);
    int outer = begin_struct(out);
    put_i32(out, 1, (int32_t)page->page.rows);
    put_i32(out, 2, has_dictionary ? RLE_DICTIONARY : PLAIN);
    put_i32(out, 3, RLE);
    put_i32(out, 4, RLE);
    end_struct(out, outer);
}

/* Write a page with its header; returns the size of the header. */
static uint64_t put_page(thrift *out, const fc_written_chunk *chunk, uint32_t number) {
    const fc_packed_page *page = &chunk->pages[number];
    bool is_dictionary = chunk->has_dictionary && number == 0;
    uint64_t start = out->size;
    int outer = begin_struct(out);
    put_i32(out, 1, is_dictionary ? DICTIONARY_PAGE : DATA_PAGE);
    put_i32(out, 2, (int32_t)page->page.size_bytes);
    put_i32(out, 3, (int32_t)page->packed_bytes);
    put_i32(out, 4, (int32_t)page->checksum);
    if (is_dictionary)
        put_dictionary_header(out, page->page.rows);
    else
        put_data_header(out, page, chunk->has_dictionary);
    end_struct(out, outer);
    uint64_t header_bytes = out->size - start;
    put_bytes(out, page->packed, page->packed_bytes);
    return header_bytes;
}

/* --- what is said of all pages together ------------------------------------------------------ */

/* What the pages of a chunk sum up to. */
typedef struct {
    uint64_t rows;
    uint64_t nulls;
    uint64_t plain_bytes; /* with their headers */
    uint64_t size_bytes;
    uint64_t dictionary_bytes;
    uint32_t least; /* FC_NULL without values */
    uint32_t greatest;
} summary;

static void add_bounds(summary *sum, const fc_chunk *column, const fc_page *page) {
    if (page->least == FC_NULL)
        return;
    if (sum->least == FC_NULL || compare_entries(column, page->least, sum->least) < 0)
        sum->least = page->least;
    if (sum->greatest == FC_NULL || compare_entries(column, page->greatest, sum->greatest) > 0)
        sum->greatest = page->greatest;
}

/* Write all pages; `sizes` gets the size of each with its header. */
static summary put_pages(thrift *out, const fc_written_chunk *chunk) {
    summary sum = {.least = FC_NULL, .greatest = FC_NULL};
    for (uint32_t i = 0; i < chunk->page_count; i++) {
        fc_packed_page *page = &chunk->pages[i];
        uint64_t header_bytes = put_page(out, chunk, i);
        page->with_header_bytes = header_bytes + page->packed_bytes;
        sum.plain_bytes += header_bytes + page->page.size_bytes;
        sum.size_bytes += page->with_header_bytes;
        if (chunk->has_dictionary && i == 0) {
            sum.dictionary_bytes = page->with_header_bytes;
            continue;
        }
        sum.rows += page->page.rows;
        sum.nulls += page->page.nulls;
        add_bounds(&sum, chunk->column, &page->page);
    }
    return sum;
}

static void put_statistics(thrift *out, const fc_chunk *column, const summary *sum) {
    put_field(out, 12, THRIFT_STRUCT);
    int outer = begin_struct(out);
    put_i64(out, 3, (int64_t)sum->nulls);
    if (sum->least != FC_NULL) {
        bound least, greatest;
        bound_of(&least, column, sum->least, false);
        bound_of(&greatest, column, sum->greatest, true);
        put_binary(out, 5, greatest.text.bytes, greatest.text.size_bytes);
        put_binary(out, 6, least.text.bytes, least.text.size_bytes);
        put_bool(out, 7, greatest.is_whole);
        put_bool(out, 8, least.is_whole);
    }
    end_struct(out, outer);
}

/* How many pages have which encoding. */
static void put_encoding_stats(thrift *out, int type, int encoding, uint32_t count) {
    int outer = begin_struct(out);
    put_i32(out, 1, type);
    put_i32(out, 2, encoding);
    put_i32(out, 3, (int32_t)count);
    end_struct(out, outer);
}

static void put_encodings(thrift *out, const fc_written_chunk *chunk) {
    put_list(out, 2, THRIFT_I32, chunk->has_dictionary ? 3 : 2);
    put_zigzag(out, PLAIN);
    put_zigzag(out, RLE);
    if (chunk->has_dictionary)
        put_zigzag(out, RLE_DICTIONARY);
}

/* ColumnMetaData. */
static void put_metadata(thrift *out, const fc_written_chunk *chunk, const summary *sum) {
    static const int types[] = {1, 2, 6}; /* Parquet's numbers of an fc_physical_type */
    uint32_t dictionary = chunk->has_dictionary;
    int outer = begin_struct(out);
    put_i32(out, 1, types[chunk->column->type]);
    put_encodings(out, chunk);
    put_list(out, 3, THRIFT_BINARY, 1);
    put_text(out, chunk->name, chunk->name_bytes);
    put_i32(out, 4, chunk->codec);
    put_i64(out, 5, (int64_t)sum->rows);
    put_i64(out, 6, (int64_t)sum->plain_bytes);
    put_i64(out, 7, (int64_t)sum->size_bytes);
    put_i64(out, 9, (int64_t)(chunk->start + sum->dictionary_bytes));
    if (dictionary)
        put_i64(out, 11, (int64_t)chunk->start);
    put_statistics(out, chunk->column, sum);
    put_list(out, 13, THRIFT_STRUCT, 1 + dictionary);
    if (dictionary)
        put_encoding_stats(out, DICTIONARY_PAGE, PLAIN, 1);
    put_encoding_stats(out, DATA_PAGE, dictionary ? RLE_DICTIONARY : PLAIN,
                       chunk->page_count - dictionary);
    if (chunk->filter_bytes) {
        put_i64(out, 14, (int64_t)(chunk->start + sum->size_bytes));
        put_i32(out, 15, (int32_t)chunk->filter_bytes);
    }
    end_struct(out, outer);
}

/* --- page index ------------------------------------------------------------------------------ */

/* How the bounds of pages are ordered, those without a value left out. */
static int order_of(const fc_chunk *column, const fc_packed_page *pages, uint32_t count) {
    bool ascend = true, descend = true;
    const fc_page *before = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const fc_page *page = &pages[i].page;
        if (page->least == FC_NULL)
            continue;
        if (before) {
            int least = compare_entries(column, before->least, page->least);
            int greatest = compare_entries(column, before->greatest, page->greatest);
            ascend &= least <= 0 && greatest <= 0;
            descend &= least >= 0 && greatest >= 0;
        }
        before = page;
    }
    return ascend ? ASCENDING : descend ? DESCENDING : UNORDERED;
}

static void put_bounds(thrift *out, int field, const fc_chunk *column, const fc_packed_page *pages,
                       uint32_t count) {
    bool is_greatest = field == 3;
    put_list(out, field, THRIFT_BINARY, count);
    for (uint32_t i = 0; i < count; i++) {
        bound b = {.text = {NULL, 0}};
        uint32_t entry = is_greatest ? pages[i].page.greatest : pages[i].page.least;
        if (entry != FC_NULL)
            bound_of(&b, column, entry, is_greatest);
        put_text(out, b.text.bytes, b.text.size_bytes);
    }
}

/* ColumnIndex: what is in each page. */
static void put_column_index(thrift *out, const fc_chunk *column, const fc_packed_page *pages,
                             uint32_t count) {
    int outer = begin_struct(out);
    put_list(out, 1, THRIFT_TRUE, count);
    for (uint32_t i = 0; i < count; i++)
        put_byte(out, pages[i].page.least == FC_NULL ? THRIFT_TRUE : THRIFT_FALSE);
    put_bounds(out, 2, column, pages, count);
    put_bounds(out, 3, column, pages, count);
    put_i32(out, 4, order_of(column, pages, count));
    put_list(out, 5, THRIFT_I64, count);
    for (uint32_t i = 0; i < count; i++)
        put_zigzag(out, pages[i].page.nulls);
    end_struct(out, outer);
}

/* OffsetIndex: where each page is. */
static void put_offset_index(thrift *out, uint64_t start, const fc_packed_page *pages,
                             uint32_t count) {
    int outer = begin_struct(out);
    put_list(out, 1, THRIFT_STRUCT, count);
    int64_t row = 0;
    for (uint32_t i = 0; i < count; i++) {
        int list = begin_struct(out);
        put_i64(out, 1, (int64_t)start);
        put_i32(out, 2, (int32_t)pages[i].with_header_bytes);
        put_i64(out, 3, row);
        end_struct(out, list);
        start += pages[i].with_header_bytes;
        row += pages[i].page.rows;
    }
    end_struct(out, outer);
}

uint64_t fc_write_chunk(fc_written_chunk *chunk, uint8_t *out, uint64_t capacity_bytes) {
    thrift written = {.bytes = out, .capacity = capacity_bytes};
    summary sum = put_pages(&written, chunk);
    chunk->plain_bytes = sum.plain_bytes;
    chunk->size_bytes = written.size;
    put_metadata(&written, chunk, &sum);
    chunk->metadata_end = written.size;
    uint32_t dictionary = chunk->has_dictionary;
    const fc_packed_page *pages = chunk->pages + dictionary;
    uint32_t count = chunk->page_count - dictionary;
    put_column_index(&written, chunk->column, pages, count);
    chunk->column_index_end = written.size;
    put_offset_index(&written, chunk->start + sum.dictionary_bytes, pages, count);
    return written.size;
}
