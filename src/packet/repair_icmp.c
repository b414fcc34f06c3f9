/* Repair of ICMP: every flow becomes an echo conversation (RFC 792).
 *
 * Error messages must quote the packet that they answer, and redirects, time stamps and the like carry data; written
 * with zero bytes for payload they are malformed (the quoted IP version is 0). An echo may carry anything. So in a flow
 * with both directions side 0 sends requests and side 1 replies; in a flow with one direction all are what most of its
 * echo messages are. Sizes and times stay. Replies answer a request seen before. */
#include <string.h>
#include "packet/repair_priv.h"

void repair_icmp(connection_echo *echo, const repair_flow_facts *facts, unsigned dir, repair_packet *x) {
    bool both = facts->seen[0] && facts->seen[1];
    unsigned type = !both ? facts->echo_type : dir == 0 ? ICMP_ECHO_REQUEST : ICMP_ECHO_REPLY;
    bool was_echo = x->whole && icmp_is_echo(x->l4[0]);
    uint16_t number = get16(x->l4 + 6);
    if (!was_echo || (both && type == ICMP_ECHO_REPLY && !connection_echo_answers(echo, dir, number))) {
        number = connection_echo_expected(echo, type, dir);
        /* More replies than requests: the latest is answered twice. */
        if (both && type == ICMP_ECHO_REPLY && !connection_echo_answers(echo, dir, number))
            number = echo->last_request;
    }
    x->nl4 = 8;
    if (x->payload > repair_largest_payload(x))
        x->payload = repair_largest_payload(x);
    memset(x->l4, 0, 8);
    x->l4[0] = (uint8_t)type;
    put16(x->l4 + 4, facts->echo_id);
    put16(x->l4 + 6, number);
    connection_echo_seen(echo, type, dir, number);
}
