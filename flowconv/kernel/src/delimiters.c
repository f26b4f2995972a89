/* Finding spaces, tabs and newlines: 64 bytes at a time become bit masks, and bits offsets. */
#include "delimiters.h"

#include <stdbool.h>
#include <string.h>

#include "flowconv.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* One bit for each byte of a block, the first lowest. */
typedef struct {
    uint64_t space, tab, newline, carriage_return, hash, not_ascii;
} masks;

/* A block has one newline or none, and few delimiters or some more: branches would be predicted
 * badly. What is noted too much is overwritten by the next block. */

static inline void note_newlines(uint64_t newline, uint64_t delimiter, delimiters *found) {
    uint64_t rest = newline;
    do {
        uint64_t before = delimiter & ((rest & -rest) - 1);
        found->line_ends[found->lines] =
            (uint32_t)(found->count + (size_t)__builtin_popcountll(before));
        found->lines += rest != 0;
        rest &= rest - 1;
    } while (rest);
}

static inline void note_delimiters(uint64_t delimiter, size_t start, delimiters *found) {
    const uint64_t last = UINT64_C(1) << 63; /* where nothing is left, as 0 has no lowest bit */
    uint32_t *out = found->offsets + found->count;
    size_t count = (size_t)__builtin_popcountll(delimiter);
    found->count += count;
    for (size_t noted = 0; noted < count; noted += DELIMITERS_AT_ONCE)
        for (size_t i = 0; i < DELIMITERS_AT_ONCE; i++, delimiter &= delimiter - 1)
            *out++ = (uint32_t)(start + (size_t)__builtin_ctzll(delimiter | last));
}

/* Note what one block has. `behind` is 1 if a delimiter stands before the block. */
static inline __attribute__((always_inline)) uint64_t note_block(masks m, size_t start, size_t size,
                                                                 uint64_t behind,
                                                                 delimiters *found) {
    if (size - start < BLOCK_BYTES) {
        uint64_t inside = (UINT64_C(1) << (size - start)) - 1;
        m.space &= inside, m.tab &= inside, m.newline &= inside;
        m.carriage_return &= inside, m.hash &= inside, m.not_ascii &= inside;
    }
    uint64_t delimiter = m.space | m.tab | m.newline;
    uint64_t begins = delimiter << 1 | behind;
    uint64_t odd = m.tab | m.carriage_return | ((m.hash | delimiter) & begins);
    uint8_t kind = (odd ? BLOCK_ODD : 0) | (m.not_ascii ? BLOCK_NOT_ASCII : 0);
    found->blocks[start / BLOCK_BYTES] = kind;
    found->found |= kind;

    note_newlines(m.newline, delimiter, found);
    note_delimiters(delimiter, start, found);
    return delimiter >> 63;
}

static void begin(delimiters *found) {
    found->count = found->lines = 0;
    found->found = BLOCK_PLAIN;
}

/* --- plain words ----------------------------------------------------------------------------- */

#define EACH_BYTE UINT64_C(0x0101010101010101)

/* The highest bits of a word's bytes -> eight bits. */
static inline uint64_t gathered(uint64_t high) {
    return ((high >> 7) * UINT64_C(0x0102040810204080)) >> 56;
}

/* Eight bits: which bytes of a word are this one. */
static inline uint64_t equal_bytes(uint64_t word, uint8_t byte) {
    uint64_t x = word ^ EACH_BYTE * byte, low = UINT64_C(0x7F) * EACH_BYTE;
    return gathered(~(((x & low) + low) | x | low));
}

static inline uint64_t little_endian(uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(word);
#else
    return word;
#endif
}

static void find_by_words(const uint8_t *text, size_t size, delimiters *found) {
    begin(found);
    uint64_t behind = 1;
    for (size_t start = 0; start < size; start += BLOCK_BYTES) {
        masks m = {0, 0, 0, 0, 0, 0};
        for (int i = 0; i < BLOCK_BYTES / 8; i++) {
            uint64_t word;
            memcpy(&word, text + start + 8 * i, 8);
            word = little_endian(word);
            m.space |= equal_bytes(word, ' ') << 8 * i;
            m.tab |= equal_bytes(word, '\t') << 8 * i;
            m.newline |= equal_bytes(word, '\n') << 8 * i;
            m.carriage_return |= equal_bytes(word, '\r') << 8 * i;
            m.hash |= equal_bytes(word, '#') << 8 * i;
            m.not_ascii |= gathered(word & UINT64_C(0x80) * EACH_BYTE) << 8 * i;
        }
        behind = note_block(m, start, size, behind, found);
    }
}

/* --- AVX2 ------------------------------------------------------------------------------------ */

#if defined(__x86_64__)

/* Text comes from memory, and processors do not fetch ahead from one 4 KB of it to the next. */
#define AHEAD_BYTES 2048

/* popcnt, bmi and bmi2 came with AVX2 or before it. */
#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))

AVX2 static inline uint64_t bits_of(__m256i low, __m256i high) {
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high)
                                                     << 32;
}

AVX2 static inline uint64_t equal_avx2(__m256i low, __m256i high, char byte) {
    __m256i wanted = _mm256_set1_epi8(byte);
    return bits_of(_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted));
}

/* Whether one of 32 bytes is a tab, a carriage return or a #: each stands where its low half leads,
 * and no other byte is what stands there. */
AVX2 static inline __m256i rare_avx2(__m256i bytes) {
    const __m256i rare = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-1, -1, -1, '#', -1, -1, -1, -1, -1, '\t', -1, -1, -1, '\r', -1, -1));
    return _mm256_cmpeq_epi8(_mm256_shuffle_epi8(rare, bytes), bytes);
}

AVX2 static void find_by_avx2(const uint8_t *text, size_t size, delimiters *found) {
    begin(found);
    uint64_t behind = 1;
    for (size_t start = 0; start < size; start += BLOCK_BYTES) {
        __builtin_prefetch(text + start + AHEAD_BYTES);
        __m256i low = _mm256_loadu_si256((const __m256i *)(text + start));
        __m256i high = _mm256_loadu_si256((const __m256i *)(text + start + 32));
        masks m = {
            .space = equal_avx2(low, high, ' '),
            .newline = equal_avx2(low, high, '\n'),
            .not_ascii = bits_of(low, high),
        };
        __m256i rare = _mm256_or_si256(rare_avx2(low), rare_avx2(high));
        if (!_mm256_testz_si256(rare, rare)) {
            m.tab = equal_avx2(low, high, '\t');
            m.carriage_return = equal_avx2(low, high, '\r');
            m.hash = equal_avx2(low, high, '#');
        }
        behind = note_block(m, start, size, behind, found);
    }
}

/* Asked of the processor itself: what __builtin_cpu_supports needs, zig cannot link into a library.
 * The bits are those of Intel's manual (volume 2, CPUID) and of its volume 1, 14.3: the system must
 * save the wide registers, too. */
static bool has_avx2(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    const unsigned popcnt = 1u << 23, osxsave = 1u << 27, avx = 1u << 28;
    if (~c & (popcnt | osxsave | avx))
        return false;
    unsigned saved, high;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    const unsigned sse_and_avx = 6, bmi = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8;
    if (~saved & sse_and_avx || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return false;
    return !(~b & (bmi | avx2 | bmi2));
}

#endif

/* --- NEON ------------------------------------------------------------------------------------ */

#if defined(__aarch64__)

/* Four vectors of bytes that are 0 or 0xFF -> 64 bits. */
static inline uint64_t bits_of(const uint8x16_t v[4]) {
    static const uint8_t weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t weight = vld1q_u8(weights);
    uint8x16_t first = vpaddq_u8(vandq_u8(v[0], weight), vandq_u8(v[1], weight));
    uint8x16_t second = vpaddq_u8(vandq_u8(v[2], weight), vandq_u8(v[3], weight));
    uint8x16_t sums = vpaddq_u8(first, second);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
}

static inline uint64_t equal_neon(const uint8x16_t v[4], uint8_t byte) {
    uint8x16_t wanted = vdupq_n_u8(byte);
    uint8x16_t equal[4];
    for (int i = 0; i < 4; i++)
        equal[i] = vceqq_u8(v[i], wanted);
    return bits_of(equal);
}

static void find_by_neon(const uint8_t *text, size_t size, delimiters *found) {
    begin(found);
    uint64_t behind = 1;
    for (size_t start = 0; start < size; start += BLOCK_BYTES) {
        uint8x16_t v[4], high[4];
        for (int i = 0; i < 4; i++) {
            v[i] = vld1q_u8(text + start + 16 * i);
            high[i] = vcgeq_u8(v[i], vdupq_n_u8(0x80));
        }
        masks m = {
            .space = equal_neon(v, ' '),
            .tab = equal_neon(v, '\t'),
            .newline = equal_neon(v, '\n'),
            .carriage_return = equal_neon(v, '\r'),
            .hash = equal_neon(v, '#'),
            .not_ascii = bits_of(high),
        };
        behind = note_block(m, start, size, behind, found);
    }
}

#endif

find_delimiters *find_delimiters_of(int32_t *speed) {
#if defined(__x86_64__)
    if ((*speed == FC_BEST || *speed == FC_AVX2) && has_avx2()) {
        *speed = FC_AVX2;
        return find_by_avx2;
    }
#elif defined(__aarch64__)
    if (*speed == FC_BEST || *speed == FC_NEON) {
        *speed = FC_NEON;
        return find_by_neon;
    }
#endif
    if (*speed == FC_BEST || *speed == FC_WORDS) {
        *speed = FC_WORDS;
        return find_by_words;
    }
    return NULL;
}
