/* What writing and finding records share: the head of a record, and how their files are called. */
#ifndef ND_GEN_ITEMS_PRIV_H
#define ND_GEN_ITEMS_PRIV_H

#include "gen/gen_priv.h"

#define ITEM_PREFIX "items-"
#define ITEM_MAGIC UINT32_C(0x3149444e) /* "NDI1" */

typedef struct item_head {
    uint32_t magic, nflows;
    uint64_t batch;
    uint8_t identity[IDENTITY_NBYTES];
    uint64_t nbytes; /* of the body */
} item_head;
_Static_assert(sizeof(item_head) == 40, "heads have no padding");

#endif
