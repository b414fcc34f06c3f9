/* How sure a model was of the fields that a flow settles by majority. */
#ifndef ND_PACKET_VOTES_H
#define ND_PACKET_VOTES_H

#include <stdint.h>

typedef enum vote_field {
    VOTE_PROTO,
    VOTE_ADDRESSES,
    VOTE_PORTS,
    VOTE_TTL,
    VOTE_TOS,
    VOTE_IP_FLAGS,
    VOTE_COUNT
} vote_field;

/* The weight of each of a packet's votes: how far the model's least certain cell of the field was from zero, 0 to 1.
 * Without a model every vote weighs the same. */
typedef struct packet_votes {
    float weight[VOTE_COUNT];
} packet_votes;

#endif
