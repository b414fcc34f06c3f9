/* The relative layout: what is known of a conversation before its next packet, and the plan that starts it. */
#include <string.h>
#include "packet/relative_priv.h"

relative_view relative_look(const packet *p) {
    relative_view v = {.ipv6 = packet_is_ipv6(p), .proto = p->header[9]};
    v.nip = v.ipv6 ? packet_walk_ipv6(p->header, p->nheader, &v.proto) : packet_ip_nheader(p);
    v.nl4 = p->nheader - v.nip;
    return v;
}

uint8_t relative_tos(const packet *p) {
    return (uint8_t)(packet_is_ipv6(p) ? get16(p->header) >> 4 : p->header[1]);
}

uint8_t relative_ttl(const packet *p) {
    return p->header[packet_is_ipv6(p) ? 7 : 8];
}

uint32_t relative_flow_label(const packet *p) {
    return get32(p->header) & 0xfffff;
}

int relative_echo(bool ipv6, unsigned type) {
    if (ipv6) /* RFC 4443 */
        return type == 128 ? ICMP_ECHO_REQUEST : type == 129 ? ICMP_ECHO_REPLY : -1;
    return icmp_is_echo(type) ? (int)type : -1;
}

void relative_start(relative_state *s, const flow_plan *plan) {
    memset(s, 0, sizeof *s);
    for (unsigned d = 0; d < 2; d++) {
        connection_start(&s->side[d], plan->isn[d], plan->tsval[d]);
        s->dir[d].ip_id = (uint16_t)(plan->ip_id[d] - 1);
        s->dir[d].flow_label = plan->flow_label[d] & 0xfffff;
        s->wire_min[d] = plan->wire_min[d];
    }
    connection_echo_start(&s->echo, plan->icmp_seq);
}

static void pass_stamps(connection_side *own, connection_side *peer, const uint8_t *option) {
    uint32_t tsval = get32(option + 2), tsecr = get32(option + 6);
    connection_stamped(own, tsval);
    if (tsecr != 0 && relative_tsecr_index(peer, tsecr) < 0 && (int32_t)(tsecr - peer->stamp[0]) > 0)
        connection_stamped(peer, tsecr); /* the observer missed it */
}

static void pass_sack(relative_blocks *sack, const uint8_t *option, unsigned nbytes) {
    sack->n = nbytes / 8;
    for (unsigned i = 0; i < 2 * sack->n; i++)
        sack->edges[i] = get32(option + 2 + 4 * i);
}

static void pass_tcp(relative_state *s, const packet *p, const relative_view *v) {
    const uint8_t *l4 = p->header + v->nip;
    connection_side *own = &s->side[p->dir], *peer = &s->side[!p->dir];
    unsigned flags = get16(l4 + 12) & 0xfffu, at = 0, payload = packet_payload(p);
    uint32_t seq = get32(l4 + 4);
    tcp_option o;
    s->dir[p->dir].window = get16(l4 + 14);
    while (tcp_option_next(l4 + 20, v->nl4 - 20, &at, &o) > 0) {
        if (o.kind == TCP_OPTION_TIMESTAMPS)
            pass_stamps(own, peer, l4 + 20 + o.at);
        else if (o.kind == TCP_OPTION_SACK)
            pass_sack(&s->sack[p->dir], l4 + 20 + o.at, o.nbytes);
    }
    if (payload > 0) {
        s->segment[p->dir][0] = seq;
        s->segment[p->dir][1] = seq + payload;
    }
    connection_sent(own, seq, payload, flags);
    if (flags & TCP_ACK)
        connection_acked(peer, get32(l4 + 8));
}

void relative_pass(relative_state *s, const packet *p) {
    relative_view v = relative_look(p);
    relative_direction *dir = &s->dir[p->dir];
    const uint8_t *l4 = p->header + v.nip;
    dir->tos = relative_tos(p);
    dir->ttl = relative_ttl(p);
    dir->started = true;
    if (v.ipv6) {
        dir->flow_label = relative_flow_label(p);
    } else {
        dir->ip_flags = p->header[6] >> 5;
        dir->ip_id = get16(p->header + 4);
    }
    if (v.proto == PROTO_TCP) {
        pass_tcp(s, p, &v);
    } else if (v.proto != PROTO_UDP) {
        int echo = relative_echo(v.ipv6, l4[0]);
        if (echo >= 0)
            connection_echo_seen(&s->echo, (unsigned)echo, p->dir, get16(l4 + 6));
    }
}

/* ---- The plan of a flow ---- */

/* The link's least packet, as the first padded packet of the direction shows it, where more packets keep to it than to
 * none. */
static uint8_t wire_min_of(const flow *f, unsigned dir) {
    uint32_t least = 0;
    int64_t gain = 0;
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        uint32_t total = packet_total_len(p);
        if (p->dir != dir || relative_uncovered(p) != NULL)
            continue;
        if (least == 0 && p->wire_len > total && p->wire_len <= UINT8_MAX)
            least = p->wire_len;
        gain += (p->wire_len == (total > least ? total : least)) - (p->wire_len == total);
    }
    for (size_t i = 0; i < f->npackets && gain > 0 && least > 0; i++) { /* short ones before the first padded one */
        const packet *p = &f->packets[i];
        if (p->dir != dir || relative_uncovered(p) != NULL)
            continue;
        if (p->wire_len > packet_total_len(p))
            break;
        gain -= p->wire_len == packet_total_len(p) && p->wire_len < least;
    }
    return gain > 0 ? (uint8_t)least : 0;
}

typedef struct known {
    bool number[2], id[2], label[2], stamp[2], echo;
} known;

static void plan_stamps(const packet *p, const relative_view *v, flow_plan *plan, known *k) {
    const uint8_t *list = p->header + v->nip + 20;
    unsigned d = p->dir != 0, other = !d, at = 0;
    tcp_option o;
    while (tcp_option_next(list, v->nl4 - 20, &at, &o) > 0) {
        if (o.kind != TCP_OPTION_TIMESTAMPS)
            continue;
        uint32_t tsval = get32(list + o.at + 2), tsecr = get32(list + o.at + 6);
        if (!k->stamp[d]) {
            plan->tsval[d] = tsval;
            k->stamp[d] = true;
        }
        if (!k->stamp[other] && tsecr != 0) {
            plan->tsval[other] = tsecr;
            k->stamp[other] = true;
        }
    }
}

static void plan_tcp(const packet *p, const relative_view *v, flow_plan *plan, known *k) {
    const uint8_t *l4 = p->header + v->nip;
    unsigned d = p->dir != 0, other = !d;
    if (!k->number[d]) {
        plan->isn[d] = get32(l4 + 4);
        k->number[d] = true;
    }
    if (!k->number[other] && l4[13] & TCP_ACK) { /* a side that was not seen yet starts where it is acknowledged */
        plan->isn[other] = get32(l4 + 8);
        k->number[other] = true;
    }
    plan_stamps(p, v, plan, k);
}

void relative_plan_of(const flow *f, flow_plan *plan) {
    memset(plan, 0, sizeof *plan);
    known k = {.echo = false};
    if (f->npackets > 0)
        plan->start_ns = f->packets[0].time_ns;
    for (unsigned side = 0; side < 2; side++) {
        plan->addr[side] = (uint32_t)f->key.addr[side];
        plan->addr6[side] = f->key.addr[side];
        plan->wire_min[side] = wire_min_of(f, side);
    }
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        if (relative_uncovered(p) != NULL)
            continue;
        relative_view v = relative_look(p);
        const uint8_t *l4 = p->header + v.nip;
        unsigned d = p->dir != 0;
        if (v.ipv6 && !k.label[d]) {
            plan->flow_label[d] = relative_flow_label(p);
            k.label[d] = true;
        } else if (!v.ipv6 && !k.id[d]) {
            plan->ip_id[d] = get16(p->header + 4);
            k.id[d] = true;
        }
        if (v.proto == PROTO_TCP) {
            plan_tcp(p, &v, plan, &k);
        } else if (v.proto != PROTO_UDP && relative_echo(v.ipv6, l4[0]) >= 0 && !k.echo) {
            plan->icmp_id = get16(l4 + 4);
            plan->icmp_seq = get16(l4 + 6);
            k.echo = true;
        }
    }
}
