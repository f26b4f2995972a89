/* Thrift's compact protocol, in which Parquet writes all that is no data.
 * https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md */
#ifndef FLOWCONV_THRIFT_H
#define FLOWCONV_THRIFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum thrift_type {
    THRIFT_TRUE = 1,
    THRIFT_FALSE = 2,
    THRIFT_BYTE = 3,
    THRIFT_I16 = 4,
    THRIFT_I32 = 5,
    THRIFT_I64 = 6,
    THRIFT_DOUBLE = 7,
    THRIFT_BINARY = 8,
    THRIFT_LIST = 9,
    THRIFT_SET = 10,
    THRIFT_STRUCT = 12
};

/* What is written. Beyond `capacity` nothing is; `size` still counts it, so the caller learns how
 * much room it takes. */
typedef struct {
    uint8_t *bytes;
    uint64_t capacity;
    uint64_t size;
    int last; /* number of the struct's field that was written last */
} thrift;

static inline void put_bytes(thrift *out, const void *bytes, uint64_t size) {
    if (size && out->size <= out->capacity && size <= out->capacity - out->size)
        memcpy(out->bytes + out->size, bytes, size);
    out->size += size;
}

static inline void put_byte(thrift *out, uint8_t byte) {
    put_bytes(out, &byte, 1);
}

static inline void put_varint(thrift *out, uint64_t value) {
    for (; value >= 128; value >>= 7)
        put_byte(out, (uint8_t)(value | 128));
    put_byte(out, (uint8_t)value);
}

static inline void put_zigzag(thrift *out, int64_t value) {
    put_varint(out, (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

/* Fields of a struct ascend, without a gap of more than 15. */
static inline void put_field(thrift *out, int field, enum thrift_type type) {
    put_byte(out, (uint8_t)((field - out->last) << 4 | type));
    out->last = field;
}

static inline void put_i32(thrift *out, int field, int32_t value) {
    put_field(out, field, THRIFT_I32);
    put_zigzag(out, value);
}

static inline void put_i64(thrift *out, int field, int64_t value) {
    put_field(out, field, THRIFT_I64);
    put_zigzag(out, value);
}

static inline void put_bool(thrift *out, int field, bool value) {
    put_field(out, field, value ? THRIFT_TRUE : THRIFT_FALSE);
}

static inline void put_text(thrift *out, const void *bytes, uint64_t size) {
    put_varint(out, size);
    put_bytes(out, bytes, size);
}

static inline void put_binary(thrift *out, int field, const void *bytes, uint64_t size) {
    put_field(out, field, THRIFT_BINARY);
    put_text(out, bytes, size);
}

/* Behind it stand `count` items; lists of true and false have the type THRIFT_TRUE. */
static inline void put_list(thrift *out, int field, enum thrift_type type, uint32_t count) {
    put_field(out, field, THRIFT_LIST);
    put_byte(out, (uint8_t)((count < 15 ? count : 15) << 4 | type));
    if (count >= 15)
        put_varint(out, count);
}

/* Begin a struct as an item of a list, or behind `put_field`; returns what `end_struct` takes. */
static inline int begin_struct(thrift *out) {
    int last = out->last;
    out->last = 0;
    return last;
}

static inline void end_struct(thrift *out, int last) {
    put_byte(out, 0);
    out->last = last;
}

#endif
