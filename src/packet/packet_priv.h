/* What decoding shares: where the IP header starts in a frame, and the numbers of IPv6's extension headers. */
#ifndef ND_PACKET_PACKET_PRIV_H
#define ND_PACKET_PACKET_PRIV_H

#include "packet/packet.h"

enum { IPV6_HEADER = 40 };

/* IPv6 extension headers (RFC 8200, 4302, 6275). */
enum {
    EXTENSION_HOP_BY_HOP = 0,
    EXTENSION_ROUTING = 43,
    EXTENSION_FRAGMENT = 44,
    EXTENSION_AUTHENTICATION = 51,
    EXTENSION_DESTINATION = 60,
    EXTENSION_MOBILITY = 135
};

/* Bytes of the extension header of this number that begins at `header`, whose first two bytes must be there; 0 for any
 * other protocol. */
size_t packet_extension_nbytes(unsigned proto, const uint8_t *header);

/* Offset of the IP header in a frame of this link type, at most caplen. */
packet_skip packet_skip_link(int link_type, const uint8_t *frame, size_t caplen, size_t *at);

#endif
