/* Where the IP header starts in a captured frame, for every link layer that nd knows.
 *
 * Every step first compares with what was captured. References: RFC 1042 (SNAP), 1661/1662 (PPP), 2516 (PPPoE), 3032
 * and 4928 (MPLS), IEEE 802.1Q, 802.1ad, 802.11; radiotap.org; the LINKTYPE_ registry of tcpdump.org. */
#include <string.h>
#include "packet/packet_priv.h"

enum { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_PPPOE_SESSION = 0x8864 };
enum { TYPE_MPLS = 0x8847, TYPE_MPLS_MULTICAST = 0x8848 };
enum { TYPE_VLAN = 0x8100, TYPE_PROVIDER_VLAN = 0x88a8, TYPE_OLD_QINQ = 0x9100 };
enum { TYPE_FIRST = 0x0600 }; /* below this the field is an 802.3 length, and LLC follows */
enum { PPP_IPV4 = 0x0021, PPP_IPV6 = 0x0057, PPP_MPLS = 0x0281, PPP_MPLS_MULTICAST = 0x0283 };

/* LINKTYPE_ values of capture files. */
enum {
    LINK_NULL = 0,
    LINK_ETHERNET_10MB = 1,
    LINK_PPP = 9,
    LINK_RAW_BSD = 12,
    LINK_RAW_OPENBSD = 14,
    LINK_RAW_IP = 101,
    LINK_80211 = 105,
    LINK_LOOP = 108,
    LINK_SLL = 113,
    LINK_RADIOTAP = 127,
    LINK_IPV4 = 228,
    LINK_IPV6 = 229,
    LINK_SLL2 = 276
};

/* MPLS label stack (RFC 3032), *at on its first byte, entries of four bytes:
 *   label 20 bits | traffic class 3 | last entry 1 | TTL 8
 * What follows is told by its first four bits: 4 and 6 are IP (RFC 4928). */
static packet_skip skip_mpls(const uint8_t *frame, size_t caplen, size_t *at) {
    bool last = false;
    while (!last) {
        if (caplen - *at < 4)
            return SKIP_CUT;
        last = frame[*at + 2] & 1;
        *at += 4;
    }
    if (caplen == *at)
        return SKIP_CUT;
    unsigned version = frame[*at] >> 4;
    return version == 4 || version == 6 ? SKIP_NONE : SKIP_NOT_IP;
}

/* *at: offset of the PPP protocol field; moved to the first byte after it. */
static packet_skip skip_ppp_protocol(const uint8_t *frame, size_t caplen, size_t *at) {
    size_t left = caplen - *at;
    if (left < 1)
        return SKIP_CUT;
    unsigned protocol = frame[*at];
    if (protocol & 1) { /* compressed to one byte: the last byte of a protocol number is odd, the first is even */
        *at += 1;
    } else {
        if (left < 2)
            return SKIP_CUT;
        protocol = get16(frame + *at);
        *at += 2;
    }
    if (protocol == PPP_MPLS || protocol == PPP_MPLS_MULTICAST)
        return skip_mpls(frame, caplen, at);
    return protocol == PPP_IPV4 || protocol == PPP_IPV6 ? SKIP_NONE : SKIP_NOT_IP;
}

/* PPPoE session header (RFC 2516), *at on its first byte:
 *   version 4 bits (1) | type 4 bits (1) | code 8 (0 in a session) | session 16 | length 16 | PPP protocol 16 */
static packet_skip skip_pppoe(const uint8_t *frame, size_t caplen, size_t *at) {
    if (caplen - *at < 6)
        return SKIP_CUT;
    if (get16(frame + *at) != 0x1100)
        return SKIP_NOT_IP;
    *at += 6;
    return skip_ppp_protocol(frame, caplen, at);
}

/* `type` is an EtherType (or 802.3 length) whose payload starts at *at; walk tags and shims to the IP header. */
static packet_skip skip_to_ip(const uint8_t *frame, size_t caplen, unsigned type, size_t *at) {
    static const uint8_t snap[6] = {0xaa, 0xaa, 3, 0, 0, 0}; /* LLC for SNAP, OUI of EtherTypes */

    while (type != TYPE_IPV4 && type != TYPE_IPV6) {
        size_t left = caplen - *at;
        if (type == TYPE_VLAN || type == TYPE_PROVIDER_VLAN || type == TYPE_OLD_QINQ) {
            if (left < 4)
                return SKIP_CUT;
            type = get16(frame + *at + 2);
            *at += 4;
        } else if (type == TYPE_PPPOE_SESSION) {
            return skip_pppoe(frame, caplen, at);
        } else if (type == TYPE_MPLS || type == TYPE_MPLS_MULTICAST) {
            return skip_mpls(frame, caplen, at);
        } else if (type < TYPE_FIRST) {
            if (memcmp(frame + *at, snap, left < sizeof snap ? left : sizeof snap) != 0)
                return SKIP_NOT_IP;
            if (left < 8)
                return SKIP_CUT;
            type = get16(frame + *at + 6);
            *at += 8;
        } else {
            return SKIP_NOT_IP;
        }
    }
    return SKIP_NONE;
}

/* A link header of nheader bytes with the EtherType at type_at. */
static packet_skip skip_typed_header(const uint8_t *frame, size_t caplen, size_t nheader, size_t type_at, size_t *at) {
    if (caplen < nheader)
        return SKIP_CUT;
    *at = nheader;
    return skip_to_ip(frame, caplen, get16(frame + type_at), at);
}

/* BSD loopback: an address family in the byte order of the capturing host (network order for LINK_LOOP). Families are
 * small numbers, so a value with only high bytes set was written in the other order. Some tunnel interfaces leave an
 * EtherType in the last two bytes instead. */
static packet_skip skip_loopback(const uint8_t *frame, size_t caplen, size_t *at) {
    if (caplen < 4)
        return SKIP_CUT;
    uint32_t family = get32(frame);
    if (family > 0xffff)
        family = __builtin_bswap32(family);
    *at = 4;
    switch (family) {
    case 2:  /* AF_INET everywhere */
    case 10: /* AF_INET6: Linux */
    case 23: /* Windows */
    case 24: /* NetBSD, OpenBSD */
    case 28: /* FreeBSD */
    case 30: /* macOS */
        return SKIP_NONE;
    default:
        return get16(frame + 2) == TYPE_IPV4 || get16(frame + 2) == TYPE_IPV6 ? SKIP_NONE : SKIP_NOT_IP;
    }
}

static packet_skip skip_ppp(const uint8_t *frame, size_t caplen, size_t *at) {
    if (caplen >= 1 && frame[0] == 0xff) { /* HDLC-like framing: address and control bytes come first */
        if (caplen < 2)
            return SKIP_CUT;
        if (frame[1] == 0x03)
            *at = 2;
    }
    return skip_ppp_protocol(frame, caplen, at);
}

/* Data frame of 802.11 (IEEE 802.11 9.2.3, 9.3.2), little-endian, *at on its first byte:
 *   frame control 16 | duration 16 | three addresses 48 each | sequence control 16
 *   | fourth address 48, between access points | QoS control 16, of QoS frames | HT control 32, where Order is set
 * and then LLC and SNAP. `padded`: some cards bring what follows the header to a multiple of four bytes. */
static packet_skip skip_80211(const uint8_t *frame, size_t caplen, bool padded, size_t *at) {
    enum { VERSION = 0x03, TYPE = 0x0c, TYPE_DATA = 0x08, WITHOUT_DATA = 0x40, QOS = 0x80 }; /* first byte */
    enum { TO_FROM_ACCESS_POINT = 0x03, PROTECTED = 0x40, ORDER = 0x80 };                    /* second byte */
    enum { FRAGMENT_NUMBER = 0x0f, AGGREGATE = 0x80 };
    const uint8_t *header = frame + *at;
    size_t left = caplen - *at;
    if (left < 2)
        return SKIP_CUT;
    if ((header[0] & VERSION) != 0 || (header[0] & TYPE) != TYPE_DATA || (header[0] & WITHOUT_DATA))
        return SKIP_NOT_IP;
    if (header[1] & PROTECTED)
        return SKIP_PROTECTED;
    size_t nheader = (header[1] & TO_FROM_ACCESS_POINT) == TO_FROM_ACCESS_POINT ? 30 : 24;
    size_t qos = nheader;
    if (header[0] & QOS)
        nheader += header[1] & ORDER ? 6 : 2;
    if (padded)
        nheader = (nheader + 3) & ~(size_t)3;
    if (left < nheader)
        return SKIP_CUT;
    if (header[22] & FRAGMENT_NUMBER)
        return SKIP_FRAGMENT;
    if ((header[0] & QOS) && (header[qos] & AGGREGATE)) /* several packets in one frame */
        return SKIP_LINK;
    *at += nheader;
    return skip_to_ip(frame, caplen, 0, at); /* as behind an 802.3 length */
}

/* Radiotap (radiotap.org), little-endian: version 8 (0) | pad 8 | bytes of the whole 16 | words of presence bits, each
 * with bit 31 set but the last | fields in the order of their bits, each at a multiple of its size. Of them only the
 * flags are of use here, and before these stands at most the time. */
static packet_skip skip_radiotap(const uint8_t *frame, size_t caplen, size_t *at) {
    enum { TIME = 0x01, FLAGS = 0x02, MORE_WORDS = 0x80, FLAG_PADDED = 0x20 };
    if (caplen < 4)
        return SKIP_CUT;
    size_t nheader = (size_t)(frame[2] | frame[3] << 8), fields = 8;
    if (frame[0] != 0 || nheader < 8)
        return SKIP_NOT_IP;
    if (caplen < nheader)
        return SKIP_CUT;
    bool padded = false;
    while (fields <= nheader && (frame[fields - 1] & MORE_WORDS))
        fields += 4;
    if (frame[4] & FLAGS) {
        if (frame[4] & TIME)
            fields = ((fields + 7) & ~(size_t)7) + 8;
        padded = fields < nheader && (frame[fields] & FLAG_PADDED);
    }
    *at = nheader;
    return skip_80211(frame, caplen, padded, at);
}

packet_skip packet_skip_link(int link_type, const uint8_t *frame, size_t caplen, size_t *at) {
    *at = 0;
    switch (link_type) {
    case LINK_ETHERNET_10MB:
        return skip_typed_header(frame, caplen, 14, 12, at);
    case LINK_SLL:
        return skip_typed_header(frame, caplen, 16, 14, at);
    case LINK_SLL2:
        return skip_typed_header(frame, caplen, 20, 0, at);
    case LINK_RAW_BSD:
    case LINK_RAW_OPENBSD:
    case LINK_RAW_IP:
    case LINK_IPV4:
    case LINK_IPV6:
        return SKIP_NONE;
    case LINK_NULL:
    case LINK_LOOP:
        return skip_loopback(frame, caplen, at);
    case LINK_PPP:
        return skip_ppp(frame, caplen, at);
    case LINK_80211:
        return skip_80211(frame, caplen, false, at);
    case LINK_RADIOTAP:
        return skip_radiotap(frame, caplen, at);
    default:
        return SKIP_LINK;
    }
}
