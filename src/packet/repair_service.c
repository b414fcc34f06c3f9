/* Payloads against the service whose port they use: a message shorter than its protocol's smallest cannot be one.
 *
 * A wrong bit in a length is most visible here: a DNS datagram below its 12 header bytes is malformed to every tool, as
 * is an SSH segment that ends inside the length of its binary packet. */
#include "packet/repair_priv.h"

typedef struct service {
    uint8_t proto;
    uint16_t port;
    uint16_t least; /* bytes of payload, where there is any */
} service;

static const service services[] = {
    {PROTO_TCP, 22, 16},  /* SSH binary packet, RFC 4253 section 6 */
    {PROTO_TCP, 53, 14},  /* DNS header behind its length, RFC 1035 sections 4.1.1 and 4.2.2 */
    {PROTO_UDP, 53, 19},  /* DNS header and a question, RFC 1035 section 4.1; payload_dns.c can make all from 19 on */
    {PROTO_UDP, 67, 244}, /* DHCP header, cookie, type and end, RFC 2131 section 2, 2132 section 9.6 */
    {PROTO_UDP, 68, 244},  {PROTO_UDP, 123, 48}, /* NTP packet, RFC 5905 section 7.3 */
    {PROTO_UDP, 5353, 19},                       /* multicast DNS, RFC 6762 section 18 */
    {PROTO_UDP, 5355, 19},                       /* LLMNR, RFC 4795 section 2.1 */
};

unsigned repair_service_payload(const repair_facts *facts, unsigned payload) {
    if (payload == 0)
        return 0;
    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        const service *s = &services[i];
        if (s->proto == facts->proto && (s->port == facts->port[0] || s->port == facts->port[1]))
            return payload < s->least ? s->least : payload;
    }
    return payload;
}
