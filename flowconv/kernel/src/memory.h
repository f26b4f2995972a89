/* Memory that grows by what was really found in a text, never by a number that stands in it. */
#ifndef FLOWCONV_MEMORY_H
#define FLOWCONV_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Make room for `count` items of `item` bytes in all, at least twice as many as before; false if
 * there is no memory. What was there stays. */
static inline bool grow(void **items, size_t *room, size_t count, size_t item) {
    if (count <= *room)
        return true;
    size_t more = *room <= SIZE_MAX / 2 && *room * 2 > count ? *room * 2 : count;
    if (more > SIZE_MAX / item)
        return false;
    void *grown = realloc(*items, more * item);
    if (!grown)
        return false;
    *items = grown;
    *room = more;
    return true;
}

/* Items that several share, in any thread; the last of them frees them. What some see of them does
 * not change, and one of them adds to the others. */
typedef struct {
    size_t users;
    size_t room;
} shared_head;

/* Keeps items aligned as malloc does. */
#define SHARED_HEAD_BYTES 16

static inline shared_head *head_of(void *items) {
    return (shared_head *)((uint8_t *)items - SHARED_HEAD_BYTES);
}

static inline void *share(void *items) {
    if (items)
        __atomic_add_fetch(&head_of(items)->users, 1, __ATOMIC_RELAXED);
    return items;
}

static inline void unshare(void *items) {
    if (items && !__atomic_sub_fetch(&head_of(items)->users, 1, __ATOMIC_ACQ_REL))
        free(head_of(items));
}

/* As `grow`, for items of which `used` bytes are taken. Those who share them keep what they have.
 */
static inline bool grow_shared(void **items, size_t used, size_t count, size_t item) {
    shared_head *head = *items ? head_of(*items) : NULL;
    size_t room = head ? head->room : 0;
    if (count <= room)
        return true;
    size_t more = room <= SIZE_MAX / 2 && room * 2 > count ? room * 2 : count;
    if (more > (SIZE_MAX - SHARED_HEAD_BYTES) / item)
        return false;
    bool is_own = head && __atomic_load_n(&head->users, __ATOMIC_ACQUIRE) == 1;
    shared_head *grown = realloc(is_own ? head : NULL, SHARED_HEAD_BYTES + more * item);
    if (!grown)
        return false;
    uint8_t *all = (uint8_t *)grown + SHARED_HEAD_BYTES;
    if (head && !is_own) {
        memcpy(all, *items, used);
        unshare(*items);
    }
    *grown = (shared_head){.users = 1, .room = more};
    *items = all;
    return true;
}

#endif
